"""Host names, network addresses and the mailboxes at them."""

from __future__ import annotations

import ipaddress
import re
from unicodedata import bidirectional, normalize

import idna

_MAX_NAME = 253  # characters of a name in its ASCII form (RFC 1035, without the root's dot)
_MAX_LOCAL = 64  # octets of a mailbox's local part (RFC 5321, 4.5.3.1.1)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490, 3.1

_ATOM = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_LOCAL = re.compile(
    rf'[{_ATOM}]++(?:\.[{_ATOM}]++)*+|"(?:[ !#-\[\]-~]|\\[ -~])*+"',
)
_WIDE = "\x80-\U0010ffff"
_IDN_LOCAL = re.compile(
    rf'[{_ATOM}{_WIDE}]++(?:\.[{_ATOM}{_WIDE}]++)*+|"(?:[ !#-\[\]-~{_WIDE}]|\\[ -~])*+"',
)


def is_ipv4(text: str) -> bool:
    """Dotted quad (RFC 2673, 3.2), without leading zeros."""
    try:
        return len(text) <= 15 and text.isascii() and bool(ipaddress.IPv4Address(text))
    except ipaddress.AddressValueError:
        return False


def is_ipv6(text: str) -> bool:
    """RFC 4291, 2.2; without a zone."""
    try:
        return len(text) <= 45 and "%" not in text and bool(ipaddress.IPv6Address(text))
    except ipaddress.AddressValueError:
        return False


def is_hostname(text: str) -> bool:
    """RFC 1123 host name; a label in Punycode must be an A-label of IDNA2008 (RFC 5890)."""
    return len(text) <= _MAX_NAME and text.isascii() and all(map(_is_label, text.split(".")))


def is_idn_hostname(text: str) -> bool:
    """RFC 5890 internationalised host name: U-labels, A-labels and plain ones."""
    if len(text) > _MAX_NAME:
        return False
    try:
        ascii_labels = [idna.alabel(label).decode() for label in _DOTS.split(text)]
        _check_bidi([idna.ulabel(label) for label in ascii_labels])
    except (idna.IDNAError, UnicodeError):
        return False
    return is_hostname(".".join(ascii_labels))


def is_email(text: str) -> bool:
    """RFC 5321 Mailbox: dotted or quoted local part, then a host name or an address in brackets."""
    local, at, domain = text.rpartition("@")
    return bool(at) and _is_local(local, _LOCAL) and (is_hostname(domain) or _is_literal(domain))


def is_idn_email(text: str) -> bool:
    """RFC 6531 Mailbox: as RFC 5321's, with characters beyond ASCII in both parts."""
    local, at, domain = text.rpartition("@")
    return bool(at) and _is_local(local, _IDN_LOCAL) and (_is_idn(domain) or _is_literal(domain))


def _is_label(label: str) -> bool:
    if _LABEL.fullmatch(label) is None:
        return False
    return not label.lower().startswith("xn--") or _is_a_label(label)


def _is_a_label(label: str) -> bool:
    try:
        idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        return False
    return True


def _check_bidi(labels: list[str]) -> None:
    """RFC 5893: one label written from right to left puts all of them under the Bidi rule. Raises IDNAError."""
    if any(bidirectional(character) in ("R", "AL", "AN") for character in "".join(labels)):
        for label in labels:
            idna.check_bidi(label, check_ltr=True)


def _is_local(text: str, shape: re.Pattern[str]) -> bool:
    if len(text) > _MAX_LOCAL or shape.fullmatch(text) is None:
        return False
    return text.isascii() or len(text.encode(errors="surrogatepass")) <= _MAX_LOCAL


def _is_idn(domain: str) -> bool:
    # Mail software normalises a domain before it looks it up (RFC 6532, 3.1).
    return len(domain) <= _MAX_NAME and is_idn_hostname(normalize("NFC", domain))


def _is_literal(domain: str) -> bool:
    inside = domain[1:-1]
    if domain != f"[{inside}]":
        return False
    return is_ipv6(inside[5:]) if inside[:5].lower() == "ipv6:" else is_ipv4(inside)
