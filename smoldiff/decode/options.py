"""What a caller may say of a request, and whether each value can be meant."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, cast

from smoldiff.decode.observer import METHODS, Observer
from smoldiff.decode.scores import Scorer
from smoldiff.errors import RequestError
from smoldiff.schema.limits import Limits

MODES = ("verified", "diffusion", "ar")
DEFAULT_MAX_TOKENS = 1024
DEFAULT_MAX_REMASKS = 64
MAX_SEED = 1 << 63


class CallOptions(TypedDict, total=False):
    """Keywords of `generate_call` and its relatives. None means: not given."""

    mode: str | None
    """"verified" (default): drafts, confirmed by the base. "ar": one token a pass. "diffusion": in a bounded number of
    steps, the last filling of the model's head (or of `scorer`) confirmed by nobody; valid all the same."""
    scorer: Scorer | None
    """Mode "diffusion" only: what fills the answer instead of a head, such as `smoldiff.RandomScores(seed)`."""
    drafter: str | Sequence[str] | None
    """Any of "scaffold", "copy", "parallel", "diffusion", joined with "+". Default "diffusion+copy" where the model has a
    head, else "parallel+copy"."""
    steps: int | None
    """Mode "diffusion" only: most passes of the base, the prompt's among them (default 2). In each step the base reads the
    head's filling, keeps what it would have written itself, and the head fills the rest anew."""
    denoise_steps: int | None
    """Passes of the head over one filling, surest positions first (default 1)."""
    observer: Observer | None
    """Shown each draft, each denoise step and each verdict of the base, while one answer is written."""
    tool_choice: str | Mapping[str, Any] | None
    """"required" (default), "auto", a tool's name, or OpenAI's {"type": "function", "function": {"name": ...}}."""
    parallel_tool_calls: bool | None
    """Whether one answer may hold several calls (default True); never with a named tool."""
    given: Mapping[str, Any] | None
    """Fixed arguments: JSON pointer into the arguments -> value."""
    temperature: float | None
    """0 (default) is greedy."""
    top_k: int | None
    """0 (default) is off."""
    top_p: float | None
    """1 (default) is off."""
    seed: int | None
    """Makes sampling repeatable."""
    max_tokens: int | None
    """Most tokens of the answer, its frame and its end included (default DEFAULT_MAX_TOKENS)."""
    max_remasks: int | None
    """Most invalid answers that are ruled out and written anew before InvalidCall is raised (default
    DEFAULT_MAX_REMASKS). Only schemas that the grammar engine cannot fully express need any."""
    limits: Limits | None
    """How much of a schema is worked out (default `smoldiff.Limits()`)."""
    skip_forced: bool | None
    """Mode "ar" only: take tokens that the grammar forces without asking the base."""
    template_options: Mapping[str, Any] | None
    """Further arguments of the chat template."""


def checked(options: CallOptions) -> CallOptions:
    """The options that were given, each of the right kind. Raises RequestError."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in CHECKS:
            raise RequestError(f"unknown option {name!r}; known are {', '.join(CHECKS)}")
        is_right, expected = CHECKS[name]
        if not is_right(value):
            raise RequestError(f"{name}={value!r}: expected {expected}")
    if given.get("skip_forced") and given.get("mode", "verified") != "ar":
        raise RequestError(
            "skip_forced belongs to mode='ar'; a verified draft holds the forced tokens already"
        )
    _check_diffusion(given)
    return cast(CallOptions, given)


def _check_diffusion(given: Mapping[str, Any]) -> None:
    """Raise RequestError where the mode "diffusion" and other options do not go together."""
    if given.get("mode") != "diffusion":
        if "scorer" in given:
            raise RequestError("scorer belongs to mode='diffusion'; other modes take a drafter")
        if "steps" in given:
            raise RequestError(
                "steps belongs to mode='diffusion'; other modes take as many as the base needs"
            )
        return
    if "scorer" in given and "steps" in given:
        raise RequestError("steps are passes of a base, and a scorer has none; leave one out")
    for name in ("drafter", "temperature", "top_k", "top_p", "seed"):
        if name in given:
            raise RequestError(f"{name} belongs to modes that the base writes; leave it out")
    if given.get("tool_choice") == "auto":
        raise RequestError("mode='diffusion' always calls a tool; leave tool_choice='auto' out")


def _is_int(low: int, high: int = MAX_SEED) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v < high


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mode": (lambda v: v in MODES, f"one of {', '.join(MODES)}"),
    "scorer": (
        lambda v: callable(getattr(v, "decide", None)) and callable(getattr(v, "fill", None)),
        "an object with the methods decide and fill (smoldiff.decode.scores.Scorer)",
    ),
    "drafter": (
        lambda v: (
            isinstance(v, str) or (isinstance(v, Sequence) and all(isinstance(n, str) for n in v))
        ),
        "names joined with '+', or a list of names",
    ),
    "steps": (_is_int(1, 1 << 10), "a whole number >= 1"),
    "denoise_steps": (_is_int(1, 1 << 10), "a whole number >= 1"),
    "observer": (
        lambda v: all(callable(getattr(v, name, None)) for name in METHODS),
        f"an object with the methods {', '.join(METHODS)} (smoldiff.decode.observer.Observer)",
    ),
    "tool_choice": (
        lambda v: isinstance(v, (str, Mapping)),
        "'required', 'auto', a tool's name, or OpenAI's dict",
    ),
    "parallel_tool_calls": (_is_bool, "True or False"),
    "given": (_is_mapping, "a dict from JSON pointer to value, such as {'/city': 'Oslo'}"),
    "temperature": (
        lambda v: _is_number(v) and 0 <= v < float("inf"),
        "a number >= 0 (0 is greedy)",
    ),
    "top_k": (_is_int(0), "a whole number >= 0 (0 is off)"),
    "top_p": (lambda v: _is_number(v) and 0 < v <= 1, "a number in (0, 1]"),
    "seed": (_is_int(0), "a whole number >= 0"),
    "max_tokens": (_is_int(1), "a whole number >= 1"),
    "max_remasks": (_is_int(0), "a whole number >= 0"),
    "limits": (lambda v: isinstance(v, Limits), "a smoldiff.Limits"),
    "skip_forced": (_is_bool, "True or False"),
    "template_options": (_is_mapping, "a dict of the chat template's arguments"),
}
"""Option -> whether a value can be meant, and what is expected."""
