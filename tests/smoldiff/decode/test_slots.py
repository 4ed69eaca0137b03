"""Slot decoding against its own definition: every token string up to the budget, scored one by one."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.decode.slots import NULL, UNDECIDED, best_fill, k_best
from smoldiff.template.automaton import token_automaton
from smoldiff.template.vocabulary import Vocabulary

QWEN = Path(__file__).parents[3].parent / "shared" / "tokenizers" / "qwen"
E_ACUTE = "é".encode()
TOKENS = [b"a", b"b", b"ab", b"ba", b"aba", E_ACUTE, E_ACUTE[:1], E_ACUTE[1:], b"a" + E_ACUTE, b"\\", b"n"]  # fmt: skip
SMALL = Vocabulary(tuple(TOKENS), {}, "small", None)


def make_dfa(edges, accepts):
    num_states = 1 + max(*accepts, *(max(a, b) for a, _, b in edges))
    table = np.full((num_states, 256), DEAD, np.int32)
    for source, data, target in edges:
        table[source, list(data)] = target
    return Dfa(table, np.isin(np.arange(num_states), list(accepts)))


CONTENT = [(0, b"ab", 0), (0, E_ACUTE[:1], 1), (1, E_ACUTE[1:], 0), (0, b"\\", 2), (2, b"n", 0)]
LANGUAGES = {
    "content": make_dfa(CONTENT, {0}),
    "a then b": make_dfa([(0, b"a", 1), (1, b"a", 1), (1, b"b", 2), (2, b"b", 2)], {2}),
    "aba or abab": make_dfa([(0, b"a", 1), (1, b"b", 2), (2, b"a", 3), (3, b"b", 4)], {3, 4}),
    "even": make_dfa([(0, b"ab", 1), (1, b"ab", 0)], {0}),
}
AUTOMATA = {
    (name, low, high): token_automaton(dfa, SMALL, min_chars=low, max_chars=high, max_tokens=4)
    for name, dfa in LANGUAGES.items()
    for low, high in [(0, None), (2, 3), (1, None), (0, 5)]
}


def fits(name, low, high, text):
    if not LANGUAGES[name].matches(text):
        return False
    return low <= len(json.loads(b'"' + text + b'"')) <= (99 if high is None else high)


def fillings(key, scores_PV, null_P, fixed=None):
    """Every filling as (score, length, token ids, text), best first."""
    num_positions = len(null_P)
    found = []
    for length in range(num_positions + 1):
        for ids in product(range(len(TOKENS)), repeat=length):
            text = SMALL.bytes_of(ids)
            row = [*ids, *[NULL] * (num_positions - length)]
            agrees = fixed is None or all(
                f in (UNDECIDED, t) for f, t in zip(fixed, row, strict=True)
            )
            if agrees and fits(*key, text):
                score = sum(float(scores_PV[p, i]) for p, i in enumerate(ids))
                found.append((score + float(null_P[length:].sum()), length, ids, text))
    return sorted(found, key=lambda one: (-one[0], one[2]))


def random_scores(seed, num_slots, num_positions, num_tokens):
    generator = torch.Generator().manual_seed(seed)
    scores_BPU = torch.randn(num_slots, num_positions, num_tokens, generator=generator)
    return scores_BPU, torch.randn(num_slots, num_positions, generator=generator)


KEYS = st.sampled_from(sorted(AUTOMATA, key=str))
SEEDS = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(key=KEYS, seed=SEEDS, num_positions=st.integers(0, 3), data=st.data())
def test_the_best_filling_is_the_best_of_all(key, seed, num_positions, data):
    automaton = AUTOMATA[key]
    scores_BPV, null_BP = random_scores(seed, 2, num_positions, len(TOKENS))
    decided = st.integers(UNDECIDED, len(TOKENS) - 1) | st.just(UNDECIDED)
    row = st.lists(decided, min_size=num_positions, max_size=num_positions)
    fixed = data.draw(st.none() | st.tuples(row, row))
    fixed_BP = None if fixed is None else torch.tensor(fixed, dtype=torch.long)
    fill = best_fill(scores_BPV[..., automaton.token_ids], null_BP, automaton, fixed_BP)
    for b in range(2):
        row = None if fixed is None else fixed[b]
        wanted = fillings(key, scores_BPV[b], null_BP[b], row)
        tokens = fill.tokens_BP[b].tolist()
        if not wanted:
            assert fill.score_B[b] == float("-inf")
            assert tokens == [NULL] * num_positions
            continue
        score, length, ids, _ = wanted[0]
        assert fill.score_B[b].item() == pytest.approx(score, abs=1e-5)
        assert tokens == [*ids, *[NULL] * (num_positions - length)]


@settings(max_examples=40, deadline=None)
@given(key=KEYS, seed=SEEDS, k=st.integers(0, 6))
def test_the_k_best_are_the_best_of_different_texts(key, seed, k):
    automaton = AUTOMATA[key]
    scores_BPV, null_BP = random_scores(seed, 1, 3, len(TOKENS))
    found = k_best(scores_BPV[0][:, automaton.token_ids], null_BP[0], automaton, k)
    wanted = []
    for score, _, ids, text in fillings(key, scores_BPV[0], null_BP[0]):
        if text not in {one[2] for one in wanted}:
            wanted.append((ids, score, text))
    assert [one.token_ids for one in found] == [ids for ids, _, _ in wanted[:k]]
    assert [one.text for one in found] == [text for _, _, text in wanted[:k]]
    assert [one.score for one in found] == pytest.approx([s for _, s, _ in wanted[:k]], abs=1e-5)


def test_ties_go_to_the_shorter_text_then_to_the_lowest_ids():
    automaton = AUTOMATA["content", 0, None]
    num_tokens = len(automaton.token_ids)
    fill = best_fill(torch.zeros(1, 3, num_tokens), torch.zeros(1, 3), automaton)
    assert fill.tokens_BP.tolist() == [[NULL] * 3]
    longer = AUTOMATA["aba or abab", 0, None]
    zeros_BPU = torch.zeros(1, 3, len(longer.token_ids))
    fill = best_fill(zeros_BPU, torch.zeros(1, 3), longer)
    assert SMALL.bytes_of(i for i in fill.tokens_BP[0].tolist() if i != NULL) == b"aba"
    assert fill.tokens_BP.tolist() == [[0, 1, 0]]


def test_the_best_token_of_its_class_is_taken_where_sums_round_to_the_same():
    automaton = token_automaton(make_dfa([(0, b"ab", 1)], {1}), SMALL, max_tokens=4)
    null_BP = torch.full((1, 2), -1e8)
    for scores in ([0.25, 0.5], [0.5, 0.25], [0.5, 0.5]):
        fill = best_fill(torch.tensor([[scores, scores]]), null_BP, automaton)
        assert fill.tokens_BP.tolist() == [[int(np.argmax(scores)), NULL]]


def test_what_has_no_filling_scores_minus_infinity():
    automaton = AUTOMATA["a then b", 0, None]
    scores_BPU, null_BP = random_scores(0, 3, 2, len(automaton.token_ids))
    b, unknown = TOKENS.index(b"b"), TOKENS.index(b"n")
    fixed_BP = torch.tensor([[b, UNDECIDED], [UNDECIDED, unknown], [UNDECIDED, UNDECIDED]])
    fill = best_fill(scores_BPU, null_BP, automaton, fixed_BP)
    assert torch.isinf(fill.score_B).tolist() == [True, True, False]
    assert fill.tokens_BP[:2].tolist() == [[NULL, NULL]] * 2
    empty = automaton.without([]).without([b"ab"])
    assert not empty.is_empty  # "aab" is left
    none = token_automaton(make_dfa([(0, b"a", 1)], {1}), SMALL, max_tokens=4).without([b"a"])
    assert none.is_empty
    fill = best_fill(torch.zeros(2, 3, 1), torch.zeros(2, 3), none)
    assert torch.isinf(fill.score_B).all()
    assert k_best(torch.zeros(3, 1), torch.zeros(3), none, 2) == []


def test_a_language_of_the_empty_text_alone_stays_unused():
    automaton = token_automaton(make_dfa([(0, b"", 0)], {0}), SMALL, max_tokens=4)
    null_BP = torch.tensor([[-1.0, -2.0]])
    fill = best_fill(torch.zeros(1, 2, 0), null_BP, automaton)
    assert (fill.tokens_BP.tolist(), fill.score_B.tolist()) == ([[NULL, NULL]], [-3.0])
    assert best_fill(torch.zeros(1, 2, 0), null_BP, automaton.without([b""])).score_B.isinf().all()
    fixed_BP = torch.tensor([[0, UNDECIDED]])
    assert best_fill(torch.zeros(1, 2, 0), null_BP, automaton, fixed_BP).score_B.isinf().all()


def test_forbidden_scores_are_kept_out():
    automaton = AUTOMATA["a then b", 0, None]
    scores_BPU, null_BP = random_scores(0, 1, 4, len(automaton.token_ids))
    whole = automaton.token_ids.tolist().index(TOKENS.index(b"ab"))
    scores_BPU[..., whole] = float("-inf")
    fill = best_fill(scores_BPU, null_BP, automaton)
    assert TOKENS.index(b"ab") not in fill.tokens_BP[0].tolist()
    assert fill.score_B.isfinite().all()


def string_content():
    plain = bytes(b for b in range(0x20, 0x80) if b not in b'"\\')
    tail = range(0x80, 0xC0)
    edges = [(0, plain, 0), (0, b"\\", 1), (1, b'"\\/bfnrt', 0), (0, range(0xC2, 0xE0), 2)]
    return make_dfa([*edges, (2, tail, 0), (0, range(0xE1, 0xED), 3), (3, tail, 2)], {0})


@pytest.mark.parametrize("name", ["bytes", "qwen"])
def test_random_scores_over_a_real_vocabulary_fill_with_valid_text(name):
    if name == "qwen" and not QWEN.exists():
        pytest.skip("../shared/tokenizers/qwen is absent")
    merges = [("a", "b"), ("Ġ", "a"), ("ab", "a"), ("\\", "n"), ("Ã", "©")]
    tokenizer = byte_tokenizer(merges) if name == "bytes" else AutoTokenizer.from_pretrained(QWEN)
    vocabulary = Vocabulary.of(tokenizer)
    automaton = token_automaton(
        string_content(), vocabulary, min_chars=5, max_chars=12, max_tokens=16
    )
    scores_BPU, null_BP = random_scores(1, 3, 16, len(automaton.token_ids))
    fill = best_fill(scores_BPU, null_BP, automaton)
    for tokens in fill.tokens_BP.tolist():
        ids = [i for i in tokens if i != NULL]
        assert tokens == [*ids, *[NULL] * (16 - len(ids))]
        assert 5 <= len(json.loads('"' + vocabulary.bytes_of(ids).decode() + '"')) <= 12
    texts = [one.text for one in k_best(scores_BPU[0], null_BP[0], automaton, 4)]
    assert len(set(texts)) == 4


def test_ten_thousand_states_need_no_dense_tables():
    texts = [f"{i * 7919 % 100_000:05}".encode() for i in range(4000)]
    numbers, edges = {b"": 0}, []
    for text in texts:
        for i in range(5):
            numbers.setdefault(text[: i + 1], len(numbers))
            edges.append((numbers[text[:i]], text[i : i + 1], numbers[text[: i + 1]]))
    dfa = make_dfa(edges, {numbers[text] for text in texts})
    automaton = token_automaton(dfa, Vocabulary.of(byte_tokenizer()), max_tokens=8)
    assert automaton.num_states > 5000
    scores_BPU, null_BP = random_scores(2, 4, 8, len(automaton.token_ids))
    for tokens in best_fill(scores_BPU, null_BP, automaton).tokens_BP.tolist():
        assert automaton.vocabulary.bytes_of(i for i in tokens if i != NULL) in texts
