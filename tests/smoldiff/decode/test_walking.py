"""Walking through an automaton: which tokens may be taken, against every token string one by one."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from fakes import byte_tokenizer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import FORMATS, PATTERNS

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.automata.errors import NoAutomaton
from smoldiff.decode.walking import Walker, steps_to_end
from smoldiff.schema.nodes import Enum, Integer, Number, String
from smoldiff.template.automaton import token_automaton
from smoldiff.template.languages import slot_automaton
from smoldiff.template.token_classes import AutomatonTooLarge
from smoldiff.template.vocabulary import Vocabulary

TOKENS = [b"a", b"b", b"ab", b"ba", b"aba", b"c"]
SMALL = Vocabulary(tuple(TOKENS), {}, "small for walks", None)
BYTES = Vocabulary.of(byte_tokenizer([("a", "b"), ("1", "0"), ("2", "0")]))


def make_dfa(edges, accepts):
    table = np.full((1 + max(a for edge in edges for a in (edge[0], edge[2])), 256), DEAD, np.int32)
    for source, data, target in edges:
        table[source, list(data)] = target
    return Dfa(table, np.isin(np.arange(len(table)), list(accepts)))


LANGUAGES = {
    "any": make_dfa([(0, b"ab", 0)], {0}),
    "a then b": make_dfa([(0, b"a", 1), (1, b"a", 1), (1, b"b", 2), (2, b"b", 2)], {2}),
    "aba or abab": make_dfa([(0, b"a", 1), (1, b"b", 2), (2, b"a", 3), (3, b"b", 4)], {3, 4}),
    "even": make_dfa([(0, b"ab", 1), (1, b"ab", 0)], {0}),
    "long": make_dfa([(n, b"ab", n + 1) for n in range(6)], {6}),
}
LIMIT = 4


@cache
def automaton_of(name, low, high):
    return token_automaton(LANGUAGES[name], SMALL, min_chars=low, max_chars=high, max_tokens=LIMIT)


@cache
def texts_of(name, low, high, num_positions):
    """Every accepted token string of at most that many tokens."""
    most = 99 if high is None else high
    return {
        ids
        for length in range(num_positions + 1)
        for ids in product(range(len(TOKENS)), repeat=length)
        if low <= len(SMALL.bytes_of(ids)) <= most and LANGUAGES[name].matches(SMALL.bytes_of(ids))
    }


def allowed_ids(walker):
    return {int(i) for i in walker.automaton.token_ids[walker.allowed()]}


KEYS = st.tuples(st.sampled_from(sorted(LANGUAGES)), st.sampled_from([(0, None), (2, 3), (1, 5)]))


@settings(max_examples=150, deadline=None)
@given(KEYS, st.integers(0, LIMIT), st.data())
def test_just_the_tokens_are_allowed_that_some_text_goes_on_with(key, num_positions, data):
    name, bounds = key
    automaton = automaton_of(name, *bounds)
    assume(not automaton.is_empty)
    texts = texts_of(name, *bounds, num_positions)
    walker, taken = Walker(automaton, num_positions), ()
    while True:
        following = {
            t[len(taken)] for t in texts if t[: len(taken)] == taken and len(t) > len(taken)
        }
        assert allowed_ids(walker) == following
        assert walker.may_end == (taken in texts)
        for token in range(len(TOKENS)):
            if token not in following:
                state = walker.state, walker.num_left
                assert not walker.take(token)
                assert (walker.state, walker.num_left) == state
        if not following:
            break
        token = data.draw(st.sampled_from(sorted(following)))
        assert walker.take(token)
        taken = (*taken, token)


@pytest.mark.parametrize(
    "key", [("any", 0, None), ("a then b", 0, None), ("aba or abab", 0, None), ("long", 0, None)]
)
def test_steps_are_those_of_the_shortest_way(key):
    automaton = automaton_of(*key)
    lengths = [len(text) for text in texts_of(*key, LIMIT)]
    assert steps_to_end(automaton)[0] == min(lengths)
    assert (steps_to_end(automaton)[automaton.accepts] == 0).all()
    assert steps_to_end(automaton) is steps_to_end(automaton)


def test_a_token_of_no_use_is_not_taken():
    walker = Walker(automaton_of("any", 0, None), 3)
    assert not walker.take(5)  # c stands in no text
    assert not walker.take(99)
    assert walker.take_all([0, 2])
    assert not walker.take_all([0, 0])


@st.composite
def languages(draw):
    """Languages of slots of all kinds."""
    low, high = sorted(draw(st.tuples(st.integers(-30, 2000), st.integers(-30, 2000))))
    kind = draw(st.sampled_from(("enum", "integer", "number", "pattern", "format", "length")))
    match kind:
        case "enum":
            texts = draw(st.lists(st.text("ab1 ", max_size=5), min_size=1, max_size=4, unique=True))
            return Enum("", tuple(f'"{text}"' for text in texts))
        case "integer":
            return Integer("", low, high, draw(st.sampled_from((None, 2, 7))))
        case "number":
            return Number("", minimum=low, maximum=high)
        case "pattern":
            return String("", patterns=(draw(st.sampled_from(PATTERNS)),))
        case "format":
            return String("", formats=(draw(st.sampled_from(FORMATS)),))
        case _:
            shortest = draw(st.integers(0, 6))
            return String("", shortest, shortest + draw(st.integers(0, 4)))


@settings(max_examples=80, deadline=None)
@given(languages(), st.integers(1, 24), st.randoms(use_true_random=False))
def test_a_walk_always_ends_in_the_language(language, num_positions, rng):
    try:
        automaton = slot_automaton(language, BYTES, num_positions)
    except (NoAutomaton, AutomatonTooLarge):
        assume(False)
    assume(not automaton.is_empty and automaton.min_tokens <= num_positions)
    walker = Walker(automaton, num_positions)
    num_taken = 0
    while not walker.may_end or rng.random() < 0.8:
        allowed = sorted(allowed_ids(walker))
        if not allowed:
            break
        assert walker.take(rng.choice(allowed))
        num_taken += 1
    assert walker.may_end
    assert walker.num_left == num_positions - num_taken >= 0


@settings(max_examples=150, deadline=None)
@given(KEYS, st.integers(0, LIMIT), st.dictionaries(st.integers(0, LIMIT - 1), st.integers(0, 5)))
def test_tokens_that_must_stand_somewhere_are_always_reached(key, num_positions, fixed):
    name, bounds = key
    automaton = automaton_of(name, *bounds)
    assume(not automaton.is_empty and max(fixed, default=-1) < num_positions)
    texts = {
        text
        for text in texts_of(name, *bounds, num_positions)
        if all(place < len(text) and text[place] == token for place, token in fixed.items())
    }
    assert Walker(automaton, num_positions, fixed).is_possible == bool(texts)
    taken = ()
    while texts:
        walker = Walker(automaton, num_positions, fixed)
        assert walker.take_all(taken)
        following = {text[len(taken)] for text in texts if len(text) > len(taken)}
        assert allowed_ids(walker) >= following
        if len(taken) not in fixed:
            assert allowed_ids(walker) == following
        assert walker.may_end == (taken in texts)
        if not following:
            break
        taken = (*taken, min(following))
        texts = {text for text in texts if text[: len(taken)] == taken}


def test_a_text_must_end_where_nothing_of_the_language_follows():
    walker = Walker(automaton_of("aba or abab", 0, None), 3)
    assert not walker.must_end
    assert walker.take_all([4, 1])  # aba b
    assert walker.must_end
    full = Walker(automaton_of("any", 0, None), 1)
    assert full.take(0)
    assert not full.allowed().any()
    assert not full.must_end  # only the positions are at an end


def test_where_the_positions_do_not_do_nothing_is_allowed():
    walker = Walker(automaton_of("aba or abab", 0, None), 0)
    assert not walker.allowed().any()
    assert not walker.may_end
