"""What `format` asserts: each name's language as its own specification defines it.

Every judgement takes time linear in the text, or refuses a long text at once.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable

from smoldiff.schema.ecma import is_ecma_pattern
from smoldiff.schema.hosts import (
    is_email,
    is_hostname,
    is_idn_email,
    is_idn_hostname,
    is_ipv4,
    is_ipv6,
)
from smoldiff.schema.identifiers import (
    is_iri,
    is_iri_reference,
    is_uri,
    is_uri_reference,
    is_uri_template,
)

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(
    r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_DURATION = re.compile(
    r"P(?:[0-9]++W|(?!\Z|T\Z)(?:[0-9]++D|(?:[0-9]++Y)?+(?:[0-9]++M(?:[0-9]++D)?+)?+)"
    r"(?:T(?!\Z)(?:[0-9]++S|(?:[0-9]++H)?+(?:[0-9]++M(?:[0-9]++S)?+)?+))?)",
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_JSON_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*+)*+")
_RELATIVE_JSON_POINTER = re.compile(r"(?:0|[1-9][0-9]*+)(?:#|(?:/(?:[^~/]|~[01])*+)*+)")


def is_date(text: str) -> bool:
    """RFC 3339 full-date: a day of the calendar."""
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day = map(int, found.groups())
    return 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]


def is_time(text: str) -> bool:
    """RFC 3339 full-time; a 60th second only where it is 23:59:60 in UTC."""
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    hour, minute, second, sign, offset_hours, offset_minutes = found.groups()
    if second != "60":
        return True
    offset = int(offset_hours or 0) * 60 + int(offset_minutes or 0)
    utc = int(hour) * 60 + int(minute) + (offset if sign == "-" else -offset)
    return utc % 1440 == 1439


def is_date_time(text: str) -> bool:
    """RFC 3339 date-time."""
    return text[10:11] in ("T", "t") and is_date(text[:10]) and is_time(text[11:])


def _shape(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "date": is_date,
    "time": is_time,
    "date-time": is_date_time,
    "duration": _shape(_DURATION),  # RFC 3339, appendix A
    "email": is_email,
    "idn-email": is_idn_email,
    "hostname": is_hostname,
    "idn-hostname": is_idn_hostname,
    "ipv4": is_ipv4,
    "ipv6": is_ipv6,
    "uri": is_uri,
    "uri-reference": is_uri_reference,
    "iri": is_iri,
    "iri-reference": is_iri_reference,
    "uri-template": is_uri_template,
    "uuid": _shape(_UUID),  # RFC 4122
    "json-pointer": _shape(_JSON_POINTER),  # RFC 6901
    "relative-json-pointer": _shape(_RELATIVE_JSON_POINTER),
    "regex": is_ecma_pattern,
}


def conforms(text: str, name: object) -> bool:
    """Whether a string is in the format of that name. A name that is not in FORMATS constrains nothing."""
    check = FORMATS.get(name) if isinstance(name, str) else None
    return check is None or check(text)
