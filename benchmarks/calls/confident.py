"""Every value of a call with its confidence, held against the call that was wanted."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from calls.calibration import Judged
from calls.values import json_equal

from smoldiff.decode.model import Model
from smoldiff.decode.result import ToolCall
from smoldiff.head.calibration import NEUTRAL
from smoldiff.schema.pointers import steps

MISSING = object()


@dataclass(frozen=True, slots=True)
class JudgedValue:
    """A value's chance, whether it was wanted, and whether the tool it was given to was."""

    judged: Judged
    is_tool_right: bool


def judged_values(
    calls: Sequence[ToolCall], wanted: Sequence[Mapping[str, Any]]
) -> Iterator[JudgedValue]:
    """The values of an answer, judged call by call in their order.

    A value is right where the wanted call has the same one in the same place. So a value of a wrong tool, of a call too
    many or under a key that was not wanted is wrong; what the answer leaves out has no confidence and is not judged.
    """
    for number, call in enumerate(calls):
        want = wanted[number] if number < len(wanted) else {"name": None, "arguments": MISSING}
        is_tool_right = call.name == want["name"]
        for pointer, chance in call.confidence.items():
            own, right = value_at(call.arguments, pointer), value_at(want["arguments"], pointer)
            is_right = is_tool_right and right is not MISSING and json_equal(own, right)
            yield JudgedValue(Judged(chance, is_right), is_tool_right)


def value_at(document: Any, pointer: str) -> Any:
    """What stands at a JSON pointer; MISSING where nothing does."""
    for step in steps(pointer):
        if isinstance(document, Mapping) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def uncalibrated(model: Model) -> Model:
    """The model with a head that leaves chances as they are computed."""
    if model.head is None:
        return model
    twin = copy(model.head)
    twin.config = replace(twin.config, verified_calibration=NEUTRAL, diffusion_calibration=NEUTRAL)
    return Model(model.base, model.tokenizer, model.name, twin)
