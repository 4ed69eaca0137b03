"""Token automata against their own definition: every token string over a small vocabulary, one by one."""

import json
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from fakes import byte_tokenizer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from slowness import within
from transformers import AutoTokenizer

from smoldiff.automata.dfa import DEAD, Dfa
from smoldiff.template import automaton as automaton_module
from smoldiff.template import cache as cache_module
from smoldiff.template import token_classes
from smoldiff.template import unbounded as unbounded_module
from smoldiff.template.automaton import TokenAutomaton, automaton_for, token_automaton
from smoldiff.template.cache import CACHE_VARIABLE
from smoldiff.template.token_classes import AutomatonTooLarge
from smoldiff.template.trie import Trie
from smoldiff.template.vocabulary import Vocabulary

QWEN = Path(__file__).parents[3].parent / "shared" / "tokenizers" / "qwen"
HEX = b"0123456789abcdefABCDEF"
TAIL = range(0x80, 0xC0)


def make_dfa(edges, accepts):
    """A Dfa from (state, bytes, state) triples."""
    num_states = 1 + max(max(accepts, default=0), *(max(a, b) for a, _, b in edges))
    table = np.full((num_states, 256), DEAD, np.int32)
    for source, data, target in edges:
        table[source, list(data)] = target
    return Dfa(table, np.isin(np.arange(num_states), list(accepts)))


def words(*texts):
    """Exactly these texts."""
    numbers, edges = {b"": 0}, []
    for text in texts:
        for i in range(len(text)):
            numbers.setdefault(text[: i + 1], len(numbers))
            edges.append((numbers[text[:i]], text[i : i + 1], numbers[text[: i + 1]]))
    return make_dfa(edges or [(0, b"", 0)], {numbers[text] for text in texts})


def string_content():
    """Anything between the quotes of a JSON string; UTF-8 without its shortest-form rules."""
    plain = bytes(b for b in range(0x20, 0x80) if b not in b'"\\')
    return make_dfa(
        [
            (0, plain, 0),
            (0, b"\\", 1),
            (1, b'"\\/bfnrt', 0),
            (1, b"u", 2),
            (2, HEX, 3),
            (3, HEX, 4),
            (4, HEX, 5),
            (5, HEX, 0),
            (0, range(0xC2, 0xE0), 6),
            (0, range(0xE1, 0xED), 7),
            (0, range(0xF1, 0xF4), 8),
            (6, TAIL, 0),
            (7, TAIL, 6),
            (8, TAIL, 7),
        ],
        {0},
    )


DATE = make_dfa(
    [(i, b"-" if i in (4, 7) else b"0123456789", i + 1) for i in range(10)],
    {10},
)
EMPTY = Dfa(np.zeros((0, 256), np.int32), np.zeros(0, np.bool_))


def small_vocabulary(tokens, added=()):
    """Token ids in the order given; `added` ones last."""
    table = (*tokens, *(text.encode() for text in added))
    ids = {text: len(tokens) + i for i, text in enumerate(added)}
    return Vocabulary(tuple(table), ids, repr(table), None)


@cache
def qwen():
    if not QWEN.exists():
        pytest.skip("../shared/tokenizers/qwen is absent")
    return Vocabulary.of(AutoTokenizer.from_pretrained(QWEN))


def accepts(automaton: TokenAutomaton, token_ids) -> bool:
    """Whether the automaton accepts these tokens, by its table."""
    if automaton.is_empty:
        return False
    state, columns = 0, {int(t): i for i, t in enumerate(automaton.token_ids)}
    for token_id in token_ids:
        if token_id not in columns:
            return False
        state = automaton.next_state[state, automaton.classes[columns[token_id]]]
        if state == DEAD:
            return False
    return bool(automaton.accepts[state])


def strings_up_to(vocabulary, num_tokens):
    for length in range(num_tokens + 1):
        yield from product(range(len(vocabulary)), repeat=length)


def assert_is_trimmed(automaton):
    """Every state lies on the way from the start to acceptance, and every token on some such way."""
    steps = list(zip(automaton.source.tolist(), automaton.target.tolist(), strict=True))
    reached = closure({0} if automaton.num_states else set(), steps)
    finishing = closure(set(np.flatnonzero(automaton.accepts)), [(t, s) for s, t in steps])
    assert reached == finishing == set(range(automaton.num_states))
    keys = list(zip(automaton.source.tolist(), automaton.cls.tolist(), strict=True))
    assert keys == sorted(set(keys))


def closure(states, steps):
    states = set(states)
    while more := {t for s, t in steps if s in states} - states:
        states |= more
    return states


TOKENS = st.lists(st.binary(max_size=3).map(lambda b: bytes(97 + x % 3 for x in b)), max_size=7)


@st.composite
def small_dfas(draw):
    """Random automata over the bytes a, b, c; trimming them is the builder's promise, so it is kept here."""
    num_states = draw(st.integers(1, 5))
    targets = st.integers(-1, num_states - 1)
    table = np.full((num_states, 256), DEAD, np.int32)
    for state in range(num_states):
        table[state, 97:100] = draw(st.tuples(targets, targets, targets))
    ends = np.array(draw(st.lists(st.booleans(), min_size=num_states, max_size=num_states)))
    steps = [(s, int(t)) for s in range(num_states) for t in table[s, 97:100] if t != DEAD]
    alive = closure(np.flatnonzero(ends), [(t, s) for s, t in steps])
    alive = sorted(alive & closure({0}, steps))
    assume(0 in alive)
    numbers = np.full(num_states + 1, DEAD, np.int32)
    numbers[alive] = np.arange(len(alive))
    return Dfa(numbers[table[alive]], ends[alive])


@settings(max_examples=150, deadline=None)
@given(dfa=small_dfas(), tokens=TOKENS)
def test_it_accepts_the_token_strings_whose_bytes_the_dfa_accepts(dfa, tokens):
    vocabulary = small_vocabulary(tokens, ["a", "bc"])
    automaton = token_automaton(dfa, vocabulary, max_tokens=4)
    assert_is_trimmed(automaton)
    num_ordinary = len(tokens)
    shortest = None
    for ids in strings_up_to(vocabulary, 3):
        is_wanted = (
            dfa.matches(vocabulary.bytes_of(ids))
            and all(i < num_ordinary for i in ids)
            and all(tokens[i] for i in ids)
        )
        assert accepts(automaton, ids) == is_wanted
        shortest = len(ids) if is_wanted and shortest is None else shortest
    assert shortest is None or automaton.min_tokens == shortest


@settings(max_examples=150, deadline=None)
@given(
    dfa=small_dfas(),
    tokens=TOKENS,
    texts=st.sets(st.binary(max_size=4).map(lambda b: bytes(97 + x % 3 for x in b)), max_size=3),
)
def test_without_leaves_out_a_text_in_all_its_tokens(dfa, tokens, texts):
    vocabulary = small_vocabulary(tokens)
    whole = token_automaton(dfa, vocabulary, max_tokens=4)
    rest = whole.without(texts)
    assert_is_trimmed(rest)
    assert (rest.token_ids == whole.token_ids).all()
    for ids in strings_up_to(vocabulary, 3):
        is_forbidden = vocabulary.bytes_of(ids) in texts
        assert accepts(rest, ids) == (accepts(whole, ids) and not is_forbidden)


def test_nothing_is_left_when_every_text_is_forbidden():
    whole = token_automaton(words(b"ab", b"b"), small_vocabulary([b"a", b"b"]), max_tokens=4)
    none = whole.without([b"ab"]).without([b"b"])
    assert none.is_empty
    assert none.without([b"ab"]).is_empty
    only_empty = token_automaton(words(b"", b"b"), small_vocabulary([b"b"]), max_tokens=4)
    assert only_empty.without([b"b"]).without([b"b", b"bb"]).min_tokens == 0


def test_without_twice_is_without_both():
    vocabulary = small_vocabulary([b"a", b"b", b"ab", b"ba"])
    whole = token_automaton(make_dfa([(0, b"ab", 0)], {0}), vocabulary, max_tokens=4)
    one_by_one = whole.without([b"aba"]).without([b"", b"ab"])
    at_once = whole.without([b"aba", b"ab", b""])
    for ids in strings_up_to(vocabulary, 4):
        assert accepts(one_by_one, ids) == accepts(at_once, ids)


PIECES = [
    b"a",
    b"ab",
    b"\\n",
    b"\\",
    b"n",
    b"u00",
    b"e9",
    b"\\ud8",
    b"3d",
    b"\\ude",
    b"00",
    b"\\u00e9x",
    "é".encode(),
    "é".encode()[:1],
    "é".encode()[1:],
    "😀".encode(),
    "😀".encode()[:2],
    "😀".encode()[2:],
]


@settings(max_examples=400, deadline=None)
@given(
    ids=st.lists(st.integers(0, len(PIECES) - 1), max_size=9),
    low=st.integers(0, 5),
    spread=st.none() | st.integers(-1, 4),
)
def test_characters_are_counted_as_json_does(ids, low, spread):
    high = None if spread is None else max(0, low + spread)
    automaton = counted_pieces(low, high)
    content = b"".join(PIECES[i] for i in ids)
    is_wanted = string_content().matches(content) and (
        low <= len(json.loads(b'"' + content + b'"')) <= (9999 if high is None else high)
    )
    assert accepts(automaton, ids) == is_wanted


def counted_pieces(low, high, known={}):  # noqa: B006  # a cache
    if (low, high) not in known:
        known[low, high] = token_automaton(
            string_content(),
            small_vocabulary(PIECES),
            min_chars=low,
            max_chars=high,
            max_tokens=9,
        )
        assert_is_trimmed(known[low, high])
    return known[low, high]


@pytest.mark.parametrize("data", [rb"\ud83d\ude00", rb"\ud83d\n", rb"\ud83d\ud83d\ude00", rb"\ude00\ud83d", rb"\ud83dx", rb"\ud83d\u0041", rb"\uD83D\uDE00\uDE00"], ids=repr)  # fmt: skip
def test_a_surrogate_pair_is_one_character(data):
    vocabulary = small_vocabulary([bytes([b]) for b in sorted(set(data))])
    num_chars = len(json.loads(b'"' + data + b'"'))
    ids = [vocabulary.token_bytes.index(bytes([b])) for b in data]
    for low in range(5):
        automaton = token_automaton(
            string_content(), vocabulary, min_chars=low, max_chars=low, max_tokens=64
        )
        assert accepts(automaton, ids) == (low == num_chars)


def test_a_bound_that_cannot_bind_is_left_out():
    vocabulary = small_vocabulary([b"a", b"b", b"ab"])
    free = token_automaton(string_content(), vocabulary, max_tokens=4)
    bounded = token_automaton(string_content(), vocabulary, max_chars=8, max_tokens=4)
    assert (
        (bounded.num_states, bounded.num_classes) == (free.num_states, free.num_classes) == (1, 1)
    )
    binding = token_automaton(string_content(), vocabulary, max_chars=7, max_tokens=4)
    assert binding.num_states == 8


def test_the_empty_language_and_one_that_no_token_writes():
    vocabulary = small_vocabulary([b"ab"])
    for dfa in (EMPTY, words(b"a"), words(b"ba")):
        automaton = token_automaton(dfa, vocabulary, max_chars=3, max_tokens=4)
        assert automaton.is_empty
        assert automaton.min_tokens is None
        assert (automaton.num_states, automaton.num_classes, len(automaton.token_ids)) == (0, 0, 0)
        assert automaton.without([b"a"]).is_empty
    impossible = token_automaton(
        string_content(), vocabulary, min_chars=3, max_chars=2, max_tokens=4
    )
    assert impossible.is_empty


def test_a_vocabulary_of_special_tokens_only_writes_the_empty_text():
    vocabulary = small_vocabulary([], ["<|im_end|>"])
    automaton = token_automaton(string_content(), vocabulary, max_tokens=4)
    assert accepts(automaton, ())
    assert not len(automaton.token_ids)


def test_special_tokens_are_never_part_of_a_value():
    vocabulary = Vocabulary.of(byte_tokenizer())
    automaton = token_automaton(string_content(), vocabulary, max_tokens=32)
    assert not set(automaton.token_ids.tolist()) & vocabulary.added_ids
    assert accepts(automaton, vocabulary.encode("<|im_end|>"))


def test_wide_and_narrow_ways_to_the_classes_agree(monkeypatch):
    vocabulary = Vocabulary.of(byte_tokenizer([("a", "b"), ("ab", "a"), ("b", "a"), ("1", "2")]))
    dfas = [words(b"abba", b"ab", b"1212"), DATE, string_content()]
    plain = [token_automaton(dfa, vocabulary, max_tokens=8) for dfa in dfas]
    monkeypatch.setattr(token_classes, "_FEW", 0)
    monkeypatch.setattr(token_classes, "_CHUNK", 3)
    for dfa, known in zip(dfas, plain, strict=True):
        other = token_automaton(dfa, vocabulary, max_tokens=8)
        assert (other.token_ids == known.token_ids).all()
        step, wanted = (a.next_state[:, a.classes] for a in (other, known))
        assert (step == wanted).all()


def test_too_large_is_an_error_of_its_own(monkeypatch):
    vocabulary = Vocabulary.of(byte_tokenizer())
    monkeypatch.setattr(token_classes, "MAX_PATHS", 20)
    with pytest.raises(AutomatonTooLarge):
        token_automaton(string_content(), vocabulary, max_tokens=8)


def test_the_trie_holds_every_ordinary_token():
    vocabulary = Vocabulary.of(byte_tokenizer([("a", "b"), ("ab", "c")]))
    trie = Trie.of(vocabulary)
    assert Trie.of(vocabulary) is trie
    assert set(trie.token_ids.tolist()) == set(range(len(vocabulary))) - vocabulary.added_ids
    assert trie.ids_by_bytes[b"abc"] == (vocabulary.token_bytes.index(b"abc"),)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(unbounded_module, "SLOW_BUILD_MS", 0.0)
    forget()
    return tmp_path / "automata"


def forget():
    automaton_module._MEMORY.clear()
    unbounded_module._MEMORY.clear()


def never():
    raise AssertionError("built again")


def test_automata_are_kept_in_memory_and_on_disk(own_cache):
    vocabulary = Vocabulary.of(byte_tokenizer())
    first = automaton_for("date", lambda: DATE, vocabulary, max_tokens=16)
    assert automaton_for("date", never, vocabulary, max_tokens=99) is first
    forget()
    again = automaton_for("date", never, vocabulary, max_tokens=16)
    assert again.min_tokens == first.min_tokens == 10
    assert (again.next_state == first.next_state).all()
    (file,) = own_cache.iterdir()
    for damage in (b"", file.read_bytes()[:200], b"PK\x03\x04"):
        file.write_bytes(damage)
        forget()
        rebuilt = automaton_for("date", lambda: DATE, vocabulary, max_tokens=16)
        assert (rebuilt.token_ids == first.token_ids).all()


def test_languages_that_differ_in_length_share_their_work(own_cache):
    vocabulary = Vocabulary.of(byte_tokenizer())
    automaton_for("text", string_content, vocabulary, max_chars=3, max_tokens=16)
    for low, high in [(1, 4), (2, None), (0, 0)]:
        bounds = {"min_chars": low, "max_chars": high, "max_tokens": 16}
        shared = automaton_for("text", never, vocabulary, **bounds)
        alone = token_automaton(string_content(), vocabulary, **bounds)
        assert (shared.token_ids == alone.token_ids).all()
        assert (shared.next_state == alone.next_state).all()
    assert len(list(own_cache.iterdir())) == 1


def test_bounds_and_language_belong_to_the_key(own_cache):
    vocabulary = Vocabulary.of(byte_tokenizer())
    for key, bounds in product(["date", "dates"], [{}, {"min_chars": 1}, {"max_chars": 12}]):
        automaton_for(key, lambda: DATE, vocabulary, max_tokens=16, **bounds)
    assert len(automaton_module._MEMORY) == 6


def test_what_is_built_quickly_is_not_written(own_cache, monkeypatch):
    monkeypatch.setattr(unbounded_module, "SLOW_BUILD_MS", 60_000.0)
    automaton_for("date", lambda: DATE, Vocabulary.of(byte_tokenizer()), max_tokens=16)
    assert not own_cache.exists()


def test_memory_is_bounded_by_bytes(own_cache, monkeypatch):
    monkeypatch.setattr(cache_module, "MAX_BYTES_IN_MEMORY", 1000)
    vocabulary = Vocabulary.of(byte_tokenizer())
    for key in "abcdefgh":
        automaton_for(key, lambda: DATE, vocabulary, max_tokens=16)
    assert 0 < len(automaton_module._MEMORY) < 8


def test_every_single_token_of_a_real_vocabulary_is_judged_as_its_bytes():
    vocabulary, dfa = qwen(), string_content()
    automaton = token_automaton(dfa, vocabulary, max_tokens=32)
    allowed = automaton.next_state[0, automaton.classes]
    single = set(automaton.token_ids[(allowed != DEAD) & automaton.accepts[allowed]].tolist())
    for token_id in range(0, len(vocabulary), 7):
        data = vocabulary.token_bytes[token_id]
        is_value = token_id not in vocabulary.added_ids and dfa.matches(data) and data != b""
        assert (token_id in single) == is_value


def test_strings_of_real_tokens_are_judged_as_their_bytes():
    vocabulary, dfa = qwen(), string_content()
    automaton = token_automaton(dfa, vocabulary, min_chars=2, max_chars=9, max_tokens=32)
    column_of = np.full(len(vocabulary), DEAD)
    column_of[automaton.token_ids] = np.arange(len(automaton.token_ids))
    signs = {0x5C, 0xC3, 0xA9, 0xE4}  # backslash, and pieces of longer characters
    awkward = np.array([i for i, data in enumerate(vocabulary.token_bytes) if set(data) & signs])
    rng = np.random.default_rng(0)
    num_accepted = 0
    for _ in range(5_000):
        ids = rng.choice(awkward, rng.integers(1, 4))
        text, state = vocabulary.bytes_of(ids), 0
        for column in column_of[ids]:
            if state != DEAD:
                is_used = column != DEAD
                state = automaton.next_state[state, automaton.classes[column]] if is_used else DEAD
        is_fit = dfa.matches(text) and 2 <= len(json.loads(b'"' + text + b'"')) <= 9
        assert (state != DEAD and automaton.accepts[state]) == is_fit
        num_accepted += is_fit
    assert num_accepted > 50


def test_languages_of_tool_calls_are_built_in_milliseconds():
    vocabulary = qwen()
    token_automaton(words(b"a"), vocabulary, max_tokens=32)  # the trie
    narrow = [words(b"celsius", b"fahrenheit", b"kelvin"), DATE]
    narrow.append(words(*(str(i).encode() for i in range(1, 101))))

    def build():
        for dfa in narrow:
            token_automaton(dfa, vocabulary, max_tokens=32)

    within(0.5, build)


def test_many_wide_states_and_many_words_stay_quick():
    vocabulary = qwen()
    any_byte = bytes(b for b in range(0x20, 0x7F) if b not in b'"\\')
    wide = [(i, any_byte, i + 1) for i in range(64)]
    narrow = [(64 + i, b"x", 65 + i) for i in range(436)]
    texts = [f"value number {i * 7919}".encode() for i in range(2000)]

    def build():
        automaton = token_automaton(make_dfa(wide + narrow, {500}), vocabulary, max_tokens=600)
        assert automaton.num_states == 501
        assert token_automaton(words(*texts), vocabulary, max_tokens=32).min_tokens

    within(10, build)
