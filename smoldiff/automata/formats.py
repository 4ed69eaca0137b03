"""The formats of JSON Schema as languages that are safe to generate.

Each is valid under the RFC that the format names and leaves out what readers are known to disagree on: leap seconds,
IPv4 tails in IPv6, quoted local parts of addresses, hosts beyond ASCII.
"""

from __future__ import annotations

from functools import lru_cache

from smoldiff.automata.dfa import Dfa
from smoldiff.automata.operations import intersect, minimise
from smoldiff.automata.regex import compile_pattern

_LEAP_YEAR = r"(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_MONTH_DAY = r"((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
_DATE = rf"(?!0000)(\d{{4}}-{_MONTH_DAY}|{_LEAP_YEAR}-02-29)"
_HOUR = r"([01]\d|2[0-3])"
_TIME = rf"{_HOUR}:[0-5]\d:[0-5]\d(\.\d{{1,9}})?(Z|[+-]{_HOUR}:[0-5]\d)"

_COUNT = r"\d{1,6}"
_SECONDS = rf"{_COUNT}S"
_MINUTES = rf"{_COUNT}M({_SECONDS})?"
_HOURS = rf"{_COUNT}H({_MINUTES})?"
_CLOCK = rf"T({_HOURS}|{_MINUTES}|{_SECONDS})"
_DAYS = rf"{_COUNT}D"
_MONTHS = rf"{_COUNT}M({_DAYS})?"
_YEARS = rf"{_COUNT}Y({_MONTHS})?"
_DURATION = rf"P(({_YEARS}|{_MONTHS}|{_DAYS})({_CLOCK})?|{_CLOCK}|{_COUNT}W)"

_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_GROUP = r"[0-9a-fA-F]{1,4}"
_IPV4 = rf"{_BYTE}(\.{_BYTE}){{3}}"
_IPV6 = "|".join(
    [
        rf"{_GROUP}(:{_GROUP}){{7}}",
        rf"::({_GROUP}(:{_GROUP}){{0,6}})?",
        *(rf"{_GROUP}(:{_GROUP}){{{n}}}::({_GROUP}(:{_GROUP}){{0,{5 - n}}})?" for n in range(6)),
        rf"{_GROUP}(:{_GROUP}){{6}}::",
    ]
)


def _label(first: str, max_chars: int) -> str:
    """A label without hyphens at its ends, nor at its third and fourth place, where RFC 5891 reserves them."""
    x, y = "[A-Za-z0-9]", "[A-Za-z0-9-]"
    return (
        rf"({first}({y}?{x})?|{first}{y}({x}{x}|-{x})"
        rf"|{first}{y}({x}{y}|-{x}){y}{{0,{max_chars - 5}}}{x})"
    )


# At most 63 + 3 * 62 characters: the limit is 253. A last label that begins with a letter is no IPv4 address.
_INNER, _LAST = _label("[A-Za-z0-9]", 61), _label("[A-Za-z]", 61)
_HOST = rf"({_label('[A-Za-z]', 63)}|({_label('[A-Za-z0-9]', 63)}\.)({_INNER}\.){{0,2}}{_LAST})"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"

_LETTERS = (
    r"\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u024F\u0391-\u03A1\u03B1-\u03C9\u0410-\u044F\u4E00-\u9FA5"
)
_IDN_ATOM = rf"[A-Za-z0-9_+{_LETTERS}-]"
_ESCAPED = "%[0-9A-Fa-f]{2}"


def _reference(letters: str) -> dict[str, str]:
    """The parts of RFC 3986, section 3, with these letters beside the ASCII ones (RFC 3987)."""
    plain = rf"A-Za-z0-9\-._~!$&'()*+,;={letters}"
    char = rf"([{plain}:@]|{_ESCAPED})"
    name = rf"[A-Za-z0-9{letters}]"
    authority = rf"([{plain}]+@)?({name}+([.-]{name}+)*)(:\d{{1,5}})?"
    beyond_host = rf"//{authority}(/{char}*)*"
    absolute = rf"/({char}+(/{char}*)*)?"
    tail = rf"(\?({char}|[/?])*)?(#({char}|[/?])*)?"
    scheme = r"[A-Za-z][A-Za-z0-9+.-]*"
    full = rf"{scheme}:({beyond_host}|{absolute}|{char}+(/{char}*)*){tail}"
    relative = rf"({beyond_host}|{absolute}|([{plain}@]|{_ESCAPED})+(/{char}*)*|){tail}"
    return {"full": full, "any": rf"{full}|{relative}"}


_URI, _IRI = _reference(""), _reference(_LETTERS)

_VARIABLE = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(:[1-9]\d{0,2}|\*)?"
_TEMPLATE = (
    rf"([A-Za-z0-9!#$&()*+,\-./:;=?@_~]|{_ESCAPED}|\{{[+#./;?&]?{_VARIABLE}(,{_VARIABLE})*\}})*"
)
_POINTER = r"(/([^~/\u0000-\u001F]|~[01])*)*"
_SIMPLE_REGEX = r"\^?(([A-Za-z0-9_ ,:/@-]|\\[dws.]|\[(a-z|A-Z|0-9|_)+\]|\.)([*+?]|\{[1-9]\})?)+\$?"

_PATTERNS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}T{_TIME}",
    "duration": _DURATION,
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "email": rf"{_ATOM}+(\.{_ATOM}+)*@{_HOST}",
    "idn-email": rf"{_IDN_ATOM}+(\.{_IDN_ATOM}+)*@{_HOST}",
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "uri": _URI["full"],
    "uri-reference": _URI["any"],
    "iri": _IRI["full"],
    "iri-reference": _IRI["any"],
    "uri-template": _TEMPLATE,
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(0|[1-9]{{1,3}}0?)(#|{_POINTER})",
    "regex": _SIMPLE_REGEX,
}
_LOCAL_PART = r"^[^@]{1,64}@"
_ALSO = {"email": _LOCAL_PART, "idn-email": _LOCAL_PART}
FORMATS = frozenset(_PATTERNS)


@lru_cache(maxsize=len(_PATTERNS))
def format_language(name: str) -> Dfa | None:
    """Valid strings of a format, as decoded content; None for a format that constrains nothing here."""
    if name not in _PATTERNS:
        return None
    found = compile_pattern(f"^(?:{_PATTERNS[name]})$")
    if name in _ALSO:
        found = intersect(found, compile_pattern(_ALSO[name]))
    return minimise(found)
