"""URIs (RFC 3986), IRIs (RFC 3987) and URI templates (RFC 6570)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from smoldiff.schema.hosts import is_ipv6

# RFC 3986, appendix B: it fits every text, and says which part is which.
_PARTS = re.compile(r"(?:([^:/?#]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_AUTHORITY = re.compile(
    r"(?:(?P<user>[^@]*)@)?(?:\[(?P<literal>[^\]]*)\]|(?P<name>[^:@\[\]]*))(?::[0-9]*)?"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_FUTURE = re.compile(r"[Vv][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+")

_PERCENT = "%[0-9A-Fa-f]{2}"
_UNRESERVED, _SUB_DELIMS = r"A-Za-z0-9\-._~", "!$&'()*+,;="
_UCSCHAR = "\xa0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef" + "".join(
    f"{chr(plane << 16 | (0x1000 if plane == 0xE else 0))}-{chr(plane << 16 | 0xFFFD)}"
    for plane in range(1, 0xF)
)
_IPRIVATE = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"


@dataclass(frozen=True, slots=True)
class _Characters:
    """What may stand in each part."""

    user: re.Pattern[str]
    name: re.Pattern[str]
    path: re.Pattern[str]
    query: re.Pattern[str]
    fragment: re.Pattern[str]


def _run(characters: str) -> re.Pattern[str]:
    return re.compile(f"(?:[{characters}]|{_PERCENT})*+")


def _characters(more: str = "", more_in_query: str = "") -> _Characters:
    plain = _UNRESERVED + _SUB_DELIMS + more
    return _Characters(
        user=_run(plain + ":"),
        name=_run(plain),
        path=_run(plain + ":@/"),
        query=_run(plain + ":@/?" + more_in_query),
        fragment=_run(plain + ":@/?"),
    )


_URI, _IRI = _characters(), _characters(_UCSCHAR, _IPRIVATE)

_VARIABLE = (
    rf"(?:[A-Za-z0-9_]|{_PERCENT})(?:\.?(?:[A-Za-z0-9_]|{_PERCENT}))*+(?::[1-9][0-9]{{0,3}}|\*)?"
)
_TEMPLATE = re.compile(
    rf"(?:[!#$&-;=?-\[\]_a-z~{_UCSCHAR}{_IPRIVATE}]|{_PERCENT}"
    rf"|\{{[+#./;?&=,!@|]?{_VARIABLE}(?:,{_VARIABLE})*+\}})*+"
)


def is_uri(text: str) -> bool:
    """RFC 3986 URI: with a scheme."""
    return _is_reference(text, _URI, needs_scheme=True)


def is_uri_reference(text: str) -> bool:
    """RFC 3986 URI-reference: absolute or relative."""
    return _is_reference(text, _URI, needs_scheme=False)


def is_iri(text: str) -> bool:
    """RFC 3987 IRI: with a scheme."""
    return _is_reference(text, _IRI, needs_scheme=True)


def is_iri_reference(text: str) -> bool:
    """RFC 3987 IRI-reference: absolute or relative."""
    return _is_reference(text, _IRI, needs_scheme=False)


def is_uri_template(text: str) -> bool:
    """RFC 6570 URI-Template, of any level."""
    return _TEMPLATE.fullmatch(text) is not None


def _is_reference(text: str, allowed: _Characters, needs_scheme: bool) -> bool:
    parts = _PARTS.fullmatch(text)
    assert parts is not None
    scheme, authority, path, query, fragment = parts.groups()
    return (
        (not needs_scheme if scheme is None else _SCHEME.fullmatch(scheme) is not None)
        and (authority is None or _is_authority(authority, allowed))
        and allowed.path.fullmatch(path) is not None
        and (query is None or allowed.query.fullmatch(query) is not None)
        and (fragment is None or allowed.fragment.fullmatch(fragment) is not None)
    )


def _is_authority(text: str, allowed: _Characters) -> bool:
    parts = _AUTHORITY.fullmatch(text)
    if parts is None or (parts["user"] and not allowed.user.fullmatch(parts["user"])):
        return False
    literal = parts["literal"]
    if literal is None:
        return allowed.name.fullmatch(parts["name"]) is not None
    return is_ipv6(literal) or _FUTURE.fullmatch(literal) is not None
