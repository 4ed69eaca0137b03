"""What users call: `generate_call`, its batched and streaming forms. (`load` lives with the model.)"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Unpack

from smoldiff.decode.loop import decode
from smoldiff.decode.model import Model
from smoldiff.decode.options import CallOptions
from smoldiff.decode.request import all_or_error, finish, outcome_of, plan, start
from smoldiff.decode.result import CallResult
from smoldiff.decode.stream import FinalField, final_fields
from smoldiff.decode.unverified import write_calls
from smoldiff.errors import RequestError

Messages = str | Sequence[dict[str, Any]]


def generate_call(
    model: Any,
    schema: Any,
    messages: Messages | None = None,
    *,
    tokenizer: Any = None,
    **options: Unpack[CallOptions],
) -> CallResult:
    """The model's call for `messages`, always valid under `schema`.

    model: from `load`, or any transformers causal LM with `tokenizer=`.
    schema: a JSON Schema, an OpenAI tool, a list of tools, or a Pydantic model class.
    messages: OpenAI messages, or one user message as a string.
    options: see `CallOptions`.

    Raises RequestError and SchemaError for what was asked, ModelError for the model, and GenerationError where the
    model does not end in a valid call; all are SmoldiffError.

    >>> call = generate_call(load("smoldiff-nano"), tools, "Book a table for two at Nopa tonight")
    >>> call.name, call.arguments
    """
    return generate_calls(model, schema, [messages], tokenizer=tokenizer, **options)[0]


def generate_calls(
    model: Any,
    schema: Any,
    conversations: Sequence[Messages | None],
    *,
    tokenizer: Any = None,
    **options: Unpack[CallOptions],
) -> list[CallResult]:
    """One call for each conversation, decoded together as a batch; otherwise as `generate_call`.

    Nothing is lost where one answer fails: the whole batch is decoded first. Then the first error is raised, with
    `.results` holding, by conversation, the result or the error of each.
    """
    if isinstance(conversations, str):
        raise RequestError("conversations is one string; give a list, one conversation each")
    wrapped = Model.of(model, tokenizer)
    what = plan(wrapped, schema, options)
    if what.mode == "diffusion":
        starts = [partial(start, wrapped, what, m, row) for row, m in enumerate(conversations)]
        return all_or_error(write_calls(wrapped, what, starts))
    answers = [start(wrapped, what, m, row) for row, m in enumerate(conversations)]
    for _ in decode(wrapped.base, answers):
        pass
    return all_or_error([outcome_of(answer) for answer in answers])


def stream_call(
    model: Any,
    schema: Any,
    messages: Messages | None = None,
    *,
    tokenizer: Any = None,
    **options: Unpack[CallOptions],
) -> Iterator[FinalField | CallResult]:
    """Yields each field as soon as it is final, then the whole `CallResult`; otherwise as `generate_call`.

    A field is never taken back. Where the grammar engine cannot fully express the schema, no field is final before the
    whole answer validates, so all of them come at the end; likewise in mode "diffusion".
    """
    wrapped = Model.of(model, tokenizer)
    what = plan(wrapped, schema, options)
    if what.mode == "diffusion":
        (result,) = all_or_error(
            write_calls(wrapped, what, [partial(start, wrapped, what, messages)])
        )
        yield from final_fields(what.scaffold, result.text)
        yield result
        return
    answer = start(wrapped, what, messages)
    is_exact = wrapped.grammar_engine.compile(what.form).is_exact
    num_seen = 0
    for _ in decode(wrapped.base, [answer]):
        if is_exact or isinstance(answer.outcome, CallResult):
            fields = final_fields(what.scaffold, answer.scaffold_text())
            if len(fields) > num_seen:
                answer.keep_written()
            yield from fields[num_seen:]
            num_seen = max(
                num_seen, len(fields)
            )  # none are seen where a pass ends inside a character
    yield finish(answer)
