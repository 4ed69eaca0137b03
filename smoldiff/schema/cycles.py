"""Which nodes of a graph lie on a cycle, each node looked at once (Tarjan, 1972), without recursion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


def mark_cycles(start: str, edges: Callable[[str], Iterable[str]], found: dict[str, bool]) -> None:
    """Note in `found`, for `start` and every node reached from it, whether it can be reached again from itself.

    Nodes that `found` holds already are not looked at again.
    """
    numbers: dict[str, int] = {}
    lows: dict[str, int] = {}
    component: list[str] = []
    path: list[tuple[str, Iterator[str]]] = []
    loops: set[str] = set()

    def enter(node: str) -> None:
        numbers[node] = lows[node] = len(numbers)
        component.append(node)
        path.append((node, iter(edges(node))))

    enter(start)
    while path:
        node, rest = path[-1]
        for other in rest:
            if other == node:
                loops.add(node)
            if other not in numbers and other not in found:
                enter(other)
                break
            if other not in found:
                lows[node] = min(lows[node], numbers[other])
        else:
            path.pop()
            if path:
                lows[path[-1][0]] = min(lows[path[-1][0]], lows[node])
            if lows[node] == numbers[node]:
                members = [component.pop()]
                while members[-1] != node:
                    members.append(component.pop())
                found.update((one, len(members) > 1 or one in loops) for one in members)
