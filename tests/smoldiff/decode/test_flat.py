"""Flat tensors of automata hold what the automata hold."""

import numpy as np
import torch
from fakes import byte_tokenizer

from smoldiff.decode.flat import flat_automata, flat_classes
from smoldiff.scaffold.pieces import Language
from smoldiff.schema.nodes import Enum, Integer, String
from smoldiff.template.languages import slot_automaton
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_kernels.slot_decoding import QUAD

VOCABULARY = Vocabulary.of(byte_tokenizer([("a", "b"), ("ab", "a"), ("1", "2")]))
TEXTS = ("a", "ab", "aba", "b", "12")
LANGUAGES: tuple[Language, ...] = (
    Enum("", tuple(f'"{text}"' for text in TEXTS)),
    String("", 2, 5),
    Integer("", -20, 1000),
)
AUTOMATA = [slot_automaton(language, VOCABULARY, 8) for language in LANGUAGES]
EMPTY = AUTOMATA[0].without(text.encode() for text in TEXTS)


def test_states_and_edges_are_the_same_by_other_numbers():
    flat = flat_automata(AUTOMATA, "cpu")
    assert flat.max_states == max(automaton.num_states for automaton in AUTOMATA)
    assert flat.max_classes == max(automaton.num_classes for automaton in AUTOMATA)
    for a, automaton in enumerate(AUTOMATA):
        own = slice(*flat.first_state_A[a : a + 2].tolist())
        num_edges_S = flat.num_edges_S[own]
        assert (num_edges_S.diff() <= 0).all(), "the states with the most edges come first"
        edges = {}
        for s, num_edges in enumerate(num_edges_S.tolist()):
            first = QUAD * int(flat.first_quad_S[own][s])
            for e in range(first, first + num_edges):
                edges[s, int(flat.class_E[e])] = int(flat.target_E[e])
        assert len(edges) == len(automaton.source)
        number = numbers(automaton, int(flat.start_A[a]), edges)
        assert sorted(number) == list(range(automaton.num_states))
        assert torch.equal(flat.accepts_S[own][number], torch.from_numpy(automaton.accepts))


def numbers(automaton, start, edges):
    """The flat number of each state: what the same way from the start leads to."""
    number = {0: start}
    while len(number) < automaton.num_states:
        columns = (automaton.source, automaton.cls, automaton.target)
        for source, cls, target in zip(*(column.tolist() for column in columns), strict=True):
            if source in number:
                reached = edges[number[source], cls]
                assert number.setdefault(target, reached) == reached
    return [number[s] for s in range(automaton.num_states)]


def test_an_empty_language_has_a_state_where_no_text_ends():
    flat = flat_automata([EMPTY, AUTOMATA[0]], "cpu")
    assert EMPTY.num_states == 0
    assert flat.first_state_A.tolist() == [0, 1, 1 + AUTOMATA[0].num_states]
    assert not flat.accepts_S[0]
    assert flat.num_edges_S[0] == 0
    assert len(flat_automata([EMPTY], "cpu").class_E) == 0


def test_tokens_stand_by_class_and_id():
    flat = flat_classes([*AUTOMATA, EMPTY], "cpu")
    assert flat.max_tokens == max(len(automaton.token_ids) for automaton in AUTOMATA)
    for a, automaton in enumerate([*AUTOMATA, EMPTY]):
        own = slice(*flat.first_token_A[a : a + 2].tolist())
        columns = flat.column_U[own].numpy()
        assert sorted(columns) == list(range(len(automaton.token_ids)))
        assert np.array_equal(automaton.token_ids[columns], flat.token_U[own])
        assert np.array_equal(automaton.classes[columns], flat.class_U[own])
        pairs = list(zip(flat.class_U[own].tolist(), flat.token_U[own].tolist(), strict=True))
        assert pairs == sorted(pairs)
