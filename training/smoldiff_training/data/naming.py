"""Split names into words, join words in a style, and swap words for others that mean the same."""

from __future__ import annotations

import re
from random import Random


def terms(text: str, separator: str | None = None) -> tuple[str, ...]:
    """The words of a list that is written as one string, to keep long lists readable."""
    return tuple(text.split(separator))


WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
STYLES = ("snake", "camel", "pascal", "kebab")
STOP = frozenset(
    terms(
        "a an the of to for in on at by with and or is are be it its this that from if as which what when where who how "
        "whether any your you user users their will should has have does do name named given e g etc"
    )
)
ALIKE = (
    "find search lookup discover explore browse",
    "get fetch retrieve show read obtain",
    "list enumerate show",
    "book reserve schedule arrange",
    "buy purchase order acquire",
    "create add make new insert",
    "delete remove erase drop",
    "update edit modify change",
    "play start stream run",
    "send transfer dispatch deliver",
    "check verify inspect confirm",
    "city town location place area",
    "location place venue area",
    "date day when",
    "time hour clock",
    "start begin pickup departure",
    "end finish return",
    "from origin source departure start",
    "to destination arrival target",
    "origin source",
    "destination target arrival",
    "number count total amount",
    "amount sum value quantity",
    "people guests persons party attendees",
    "travelers passengers riders people",
    "tickets seats passes",
    "movie film picture title",
    "song track tune",
    "artist singer performer musician band",
    "album record collection",
    "genre category kind style",
    "type kind category sort class",
    "category type section",
    "title name label",
    "restaurant eatery diner",
    "hotel accommodation lodging",
    "event show happening",
    "doctor physician",
    "dentist dental",
    "therapist counselor",
    "stylist salon hairdresser",
    "apartment home property house flat",
    "house home property",
    "flight plane trip",
    "bus coach",
    "train rail",
    "car vehicle auto",
    "price cost fare rate",
    "rating score stars",
    "phone telephone contact",
    "address street location",
    "account profile",
    "device player speaker",
    "cuisine food",
    "query text keywords term",
    "message text body content",
    "language lang locale",
    "id identifier key",
    "url link address",
    "file document path",
    "max limit maximum",
    "weather forecast climate",
    "alarm reminder alert",
    "email mail",
    "company firm organization",
    "airline carrier",
    "actor star cast",
    "director filmmaker",
    "payment transaction",
    "recipient receiver payee",
    "theater cinema",
    "rooms bedrooms",
)
SYNONYMS: dict[str, tuple[str, ...]] = {}
for _group in ALIKE:
    for _word in _group.split():
        others = tuple(w for w in _group.split() if w != _word)
        SYNONYMS[_word] = tuple(dict.fromkeys(SYNONYMS.get(_word, ()) + others))


def words_of(name: str) -> list[str]:
    """`buses_14.findBus` -> buses, 14, find, Bus; case is kept."""
    return WORD.findall(name)


def join_words(words: list[str], style: str) -> str:
    low = [w.lower() for w in words]
    if style == "snake":
        return "_".join(low)
    if style == "kebab":
        return "-".join(low)
    if style == "pascal":
        return "".join(w[:1].upper() + w[1:] for w in low)
    return low[0] + "".join(w[:1].upper() + w[1:] for w in low[1:]) if low else ""


def swap_words(words: list[str], rng: Random, share: float) -> list[str]:
    """Each word that has synonyms becomes one of them with probability `share`."""
    out = []
    for word in words:
        options = SYNONYMS.get(word.lower())
        out.append(rng.choice(options) if options and rng.random() < share else word)
    return out


def content_words(text: str) -> list[str]:
    return [w for w in re.findall(r"[a-z]+", text.lower()) if w not in STOP]
