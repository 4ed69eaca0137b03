"""The last gate as a list of faults, by the pointers that the scaffold has for a whole answer."""

from collections.abc import Callable
from dataclasses import replace

from smoldiff.decode.grammar import AnswerForm
from smoldiff.decode.spans import arguments
from smoldiff.schema.pointers import child
from smoldiff.schema.validation import Fault, decoder, faults

_EXACT = decoder(is_exact=True)


def judge(form: AnswerForm) -> Callable[[str], list[Fault]]:
    """A function that says what is wrong with the text of an answer, the innermost first."""

    def find(text: str) -> list[Fault]:
        found: list[Fault] = []
        parts = arguments(text, form.source, form.call_style)
        for num, (part, tool) in enumerate(parts):
            at = "" if tool is None else child("", num, form.call_style.arguments_key)
            schema = form.source.judging_schema if tool is None else tool.judging_parameters
            try:
                value = _EXACT.decode(text[part.start : part.end])
            except (ValueError, RecursionError) as problem:
                found.append(Fault(at, str(problem)))
                continue
            for fault in faults(value, {} if schema is None else schema):
                found.append(replace(fault, pointer=at + fault.pointer))
        return found

    return find
