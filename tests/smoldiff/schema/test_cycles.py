"""Cycles found by one look at each node, against the definition."""

import random

from smoldiff.schema.cycles import mark_cycles


def reaches_itself(start, graph):
    seen, todo = set(), list(graph[start])
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += graph[node]
    return start in seen


def test_every_node_is_judged_as_the_definition_says():
    rng = random.Random(0)
    for _ in range(300):
        names = "abcdefgh"[: rng.randint(1, 8)]
        graph = {name: rng.sample(names, rng.randint(0, min(2, len(names)))) for name in names}
        found = {}
        for name in rng.sample(names, len(names)):
            if name not in found:
                mark_cycles(name, graph.__getitem__, found)
        assert found == {name: reaches_itself(name, graph) for name in names}


def test_each_node_is_looked_at_once_and_a_long_chain_is_no_recursion():
    looked_at = []

    def following(name):
        looked_at.append(name)
        return [str(int(name) + 1)] if int(name) < 20_000 else []

    found = {}
    mark_cycles("0", following, found)
    assert len(looked_at) == len(found) == 20_001
    assert not any(found.values())
