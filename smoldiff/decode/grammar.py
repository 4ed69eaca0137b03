"""Which tokens may come next. The one contact with llguidance.

The grammar of an answer is written as llguidance's Lark dialect: the frame of a call as text and control tokens, each
tool's arguments as a JSON schema with fixed separators (free whitespace is the most reported failure of grammar
decoding in production).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from torch import Tensor

from smoldiff.decode.superset import MAX_PROPERTIES, NUM_PRECISE, is_crowded, weaker
from smoldiff.errors import SchemaError, UnsatisfiableSchema, UnsupportedSchema
from smoldiff.scaffold.answer import CallStyle, split_special
from smoldiff.scaffold.style import JsonStyle
from smoldiff.schema.source import Source
from smoldiff.template.vocabulary import Vocabulary

HEADER = "%llguidance {}\n"
# What the engine cannot express is decoded under a superset; the last gate then decides.
SUPERSET = {"lenient": True, "coerce_one_of": True}
UNSATISFIABLE = "Unsatisfiable schema: "
# Ten times the engine's own: an object of a few thousand keys has as many ways on at once.
LIMITS = LLParserLimits(max_items_in_row=20_000, step_max_items=500_000)


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer may be."""

    source: Source
    call_style: CallStyle
    json_style: JsonStyle
    max_calls: int
    may_be_text: bool
    """tool_choice="auto": the model may answer in text, and may write text before its calls."""


@dataclass(frozen=True, eq=False)
class Grammar:
    """A compiled answer grammar for one tokenizer. `matcher()` starts a new answer."""

    _start: LLMatcher = field(repr=False)
    _num_tokens: int
    is_exact: bool
    """Whether it allows nothing but what the schema allows, as far as the engine knows; else it allows more."""

    def matcher(self) -> "Matcher":
        return Matcher(self._start.deep_copy(), self._num_tokens)


class Matcher:
    """The state of one answer under its grammar; advances token by token.

    "Allowed" always means the engine's mask. Where text is forced the mask holds the token that the tokenizer itself
    would write, although the engine would also consume smaller pieces of it.
    """

    def __init__(self, engine: LLMatcher, num_tokens: int) -> None:
        self.engine = engine
        self.num_tokens = num_tokens
        self._words = np.empty((num_tokens + 31) // 32, dtype=np.uint32)
        self._is_current = False

    def _mask(self) -> "np.ndarray[Any, np.dtype[np.uint32]]":
        """One bit a token, for the present state."""
        if not self._is_current:
            self.engine.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
            if self.engine.is_error():
                raise self._failure()
            self._is_current = True
        return self._words

    def allows(self, token_id: int) -> bool:
        """May this token come next?"""
        if token_id >= self.num_tokens:  # a padded row of the model's output
            return False
        return bool(self._mask()[token_id >> 5] >> (token_id & 31) & 1)

    def allowed(self, num_logits: int) -> Tensor:
        """Bool [num_logits], True where the token may come next."""
        bits = np.unpackbits(self._mask().view(np.uint8), bitorder="little")[:num_logits]
        return torch.from_numpy(np.pad(bits, (0, num_logits - len(bits)))).bool()

    def advance(self, token_id: int) -> None:
        """Take an allowed token."""
        self._is_current = False
        if not self.engine.consume_token(token_id):
            raise self._failure()

    def rewind(self, ids: Sequence[int]) -> None:
        """Go to where these tokens of an answer have been taken, and nothing else."""
        self._is_current = False
        self.engine.reset()
        if not self.engine.consume_tokens(list(ids)):
            raise self._failure()

    def _failure(self) -> Exception:
        problem = self.engine.get_error()
        if self.engine.stop_reason().endswith("TooComplex"):
            return UnsupportedSchema("", f"too much for the grammar engine: {_first_line(problem)}")
        return RuntimeError(f"grammar engine: {problem}")

    def forced_ids(self) -> list[int]:
        """Tokens that must come next, short of any that could merge with what follows them."""
        ids: list[int] = self.engine.compute_ff_tokens()
        return ids

    @property
    def is_dead_end(self) -> bool:
        """Whether neither a token nor the end of the answer may follow; the engine's own mask never ends so."""
        return False

    @property
    def is_finished(self) -> bool:
        """Nothing but the end of the answer may follow."""
        return bool(self.engine.is_stopped())


@dataclass(frozen=True, eq=False)
class GrammarEngine:
    """llguidance for one tokenizer, with the grammars compiled lately. Made by `grammar_engine`."""

    vocabulary: Vocabulary = field(repr=False)
    _engine: LLTokenizer = field(repr=False)
    _grammars: dict[str, Grammar] = field(default_factory=dict, repr=False)

    def compile(self, form: AnswerForm) -> Grammar:
        """The grammar of an answer. Raises UnsupportedSchema where the engine refuses a schema even as a superset."""
        strict = HEADER + answer_rules(form, self.vocabulary, {})
        known = self._grammars.get(strict)
        if known is None:
            known = self._compile_new(form, strict)
            if len(self._grammars) >= MAX_CACHED_GRAMMARS:
                self._grammars.pop(next(iter(self._grammars)))
            self._grammars[strict] = known
        return known

    def _compile_new(self, form: AnswerForm, strict: str) -> Grammar:
        for rules, is_exact in self._attempts(form, strict):
            matcher = self._matcher(rules)
            if not matcher.is_error():
                return Grammar(matcher, self._engine.vocab_size, is_exact)
        raise UnsupportedSchema("", _first_line(matcher.get_error()))

    def _attempts(self, form: AnswerForm, strict: str) -> Iterator[tuple[str, bool]]:
        """Rules for the form, the most exact first, and whether they are exact."""
        tools = form.source.tools
        schemas = [tool.parameters for tool in tools] if tools else [form.source.schema]
        if not any(map(is_crowded, schemas)):
            yield strict, True
            yield HEADER + answer_rules(form, self.vocabulary, SUPERSET), False
        yield HEADER + answer_rules(self._weakened(form), self.vocabulary, SUPERSET), False

    def _weakened(self, form: AnswerForm) -> AnswerForm:
        """The form with each schema that the engine refuses made as weak as it must be."""
        source = form.source
        if not source.tools:
            return replace(form, source=replace(source, schema=self._readable(source.schema)))
        tools = []
        for tool in source.tools:
            try:
                tools.append(replace(tool, parameters=self._readable(tool.parameters)))
            except SchemaError as problem:
                what = f"tool {tool.name!r}: {problem.problem}"
                raise type(problem)(tool.pointer, what) from None
        return replace(form, source=replace(source, tools=tuple(tools)))

    def _readable(self, schema: Any) -> Any:
        for idx, weak in enumerate(chain([schema], weaker(schema, self._refuses))):
            refusal = self._refusal(weak)
            if not refusal:
                return weak
            if idx == NUM_PRECISE and refusal.startswith(UNSATISFIABLE):
                raise UnsatisfiableSchema("", refusal.removeprefix(UNSATISFIABLE))
        raise UnsupportedSchema("", refusal)

    def _refuses(self, schema: Any) -> bool:
        return bool(self._refusal(schema))

    def _refusal(self, schema: Any) -> str:
        """Why the engine refuses a schema even as a superset; "" where it does not."""
        if is_crowded(schema):
            return f"an object of more than {MAX_PROPERTIES} properties"
        rules = "start: " + json_rule(schema, JsonStyle(), SUPERSET)
        matcher = self._matcher(HEADER + rules)
        return _first_line(matcher.get_error()) if matcher.is_error() else ""

    def _matcher(self, rules: str) -> LLMatcher:
        """A matcher at the start of an answer; it holds an error where the rules are refused."""
        return LLMatcher(self._engine, rules, log_level=0, limits=LIMITS)


MAX_CACHED_GRAMMARS = 256
MAX_CACHED_ENGINES = 8
_ENGINES: dict[tuple[str, tuple[int, ...]], GrammarEngine] = {}


class _EngineVocabulary:
    """A vocabulary as the engine reads it. Text that it forces is encoded as ordinary text, never as control tokens."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, eos_id: int) -> None:
        self.eos_token_id = eos_id
        self.tokens = list(vocabulary.token_bytes)
        self.special_token_ids = sorted(vocabulary.added_ids)
        self._vocabulary = vocabulary

    def __call__(self, data: bytes) -> list[int]:
        return self._vocabulary.encode_bytes(data)


def grammar_engine(tokenizer: Any, eos_ids: tuple[int, ...]) -> GrammarEngine:
    """The engine for a tokenizer, cached by content: it takes about a second to build for 150k tokens."""
    vocabulary = Vocabulary.of(tokenizer)
    key = (vocabulary.content_hash, eos_ids)
    if key not in _ENGINES:
        if len(_ENGINES) >= MAX_CACHED_ENGINES:
            _ENGINES.pop(next(iter(_ENGINES)))
        wrapper = TokenizerWrapper(_EngineVocabulary(vocabulary, eos_ids[0]))
        engine = LLTokenizer(wrapper, eos_token=list(eos_ids))
        _ENGINES[key] = GrammarEngine(vocabulary, engine)
    return _ENGINES[key]


def _first_line(problem: str) -> str:
    line = problem.splitlines()[0]
    return line.split("failed to compile JSON schema: ")[-1]


def answer_rules(form: AnswerForm, vocabulary: Vocabulary, options: Mapping[str, object]) -> str:
    """Lark rules of an answer, `start` first."""
    if not form.source.tools:
        schema = form.source.schema
        return "start: " + json_rule(
            {} if schema is None or schema is True else schema, form.json_style, options
        )
    style = form.call_style
    more = form.max_calls - 1
    repeat = f" (between call){{0,{more}}}" if more else ""
    rules = [
        "start: calls | PROSE calls?" if form.may_be_text else "start: calls",
        f"calls: call{repeat}",
        f"call: {_frame(style.begin, style, vocabulary)} body {_frame(style.end, style, vocabulary)}",
        f"between: {_frame(style.between, style, vocabulary)}",
        "body: " + " | ".join(f"tool_{i}" for i in range(len(form.source.tools))),
    ]
    if form.may_be_text:
        rules.append(f"PROSE: {_prose(style, vocabulary)}")
    for i, tool in enumerate(form.source.tools):
        name, key = form.json_style.dumps({style.name_key: tool.name}), _quote(style.arguments_key)
        head = f"{name[:-1]}{form.json_style.item_separator}{key}{form.json_style.key_separator}"
        rules.append(f'tool_{i}: {_quote(head)} args_{i} "}}"')
        rules.append(f"args_{i}: {json_rule(tool.parameters, form.json_style, options)}")
    return "\n".join(rules)


def json_rule(schema: Any, style: JsonStyle, options: Mapping[str, object]) -> str:
    """A JSON value under `schema`, with fixed separators."""
    guidance = {
        "whitespace_flexible": False,
        "item_separator": style.item_separator,
        "key_separator": style.key_separator,
        **options,
    }
    body = {"not": {}} if schema is False else schema
    return "%json " + json.dumps({**body, "x-guidance": guidance}, ensure_ascii=False)


def _frame(text: str, style: CallStyle, vocabulary: Vocabulary) -> str:
    """`text` as Lark terms, with the style's control tokens as tokens."""
    terms = [
        f"<[{vocabulary.added[part.text]}]>" if part.text in vocabulary.added else _quote(part.text)
        for part in split_special(text, style.special)
    ]
    return " ".join(terms) or '""'


def _prose(style: CallStyle, vocabulary: Vocabulary) -> str:
    """Text that is not a call. Control tokens cannot match a regular expression, so a token needs no exclusion."""
    if not style.marker:
        return r"/[^{](.|\n)*/"
    if style.marker in vocabulary.added:
        return r"/(.|\n)+/"
    return rf"/(.|\n)+/ & ~/(.|\n)*{_escape(style.marker)}(.|\n)*/"


def _escape(text: str) -> str:
    return "".join(c if c.isalnum() else f"\\x{ord(c):02x}" if ord(c) < 128 else c for c in text)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
