"""Hypothesis strategies for JSON Schemas. Names, values and bounds are few and small, so that constraints meet."""

import copy
import math
from dataclasses import dataclass, field

from hypothesis import strategies as st

NAMES = ("a", "b", "c", "ab", "x-a", "")
TEXTS = ("", "a", "b", "ab", "aab", "1", "é", "a b", "x-a", "2024-02-29", "https://a.b/c")
NUMBERS = (-3, -1, 0, 0.5, 1, 1.0, 1.5, 2, 3, 7, 10, 100, -0.01, 1e3, 2**53)
STEPS = (1, 2, 3, 0.5, 0.1, 0.01, 1.5, 1e-3)
PATTERNS = (
    "",
    "a",
    "^a",
    "b$",
    "^$",
    "a|b",
    "[^a]",
    "^[ab]*$",
    "^(ab)+$",
    "^(?:a|b){2,3}$",
    "^.{2}$",
    "[0-9]",
    r"^\d+$",
    r"\w",
    r"\s",
    r"\bab\b",
    "^(?!a)",
    "(?=.*b)a",
    "^x-",
    "^[A-Z][a-z]{0,3}$",
    "é",
)
FORMATS = (
    *("date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname"),
    *("ipv4", "ipv6", "uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid"),
    *("json-pointer", "relative-json-pointer", "regex", "int32", "unheard-of"),
)
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
SCALARS = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS))
COUNTS = st.integers(0, 3)


def names():
    return st.sampled_from(NAMES)


def values():
    """JSON values, most of them small."""
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names(), inner, max_size=2),
        max_leaves=4,
    )


def name_lists():
    return st.lists(names(), max_size=2, unique=True)


def named(inner):
    return st.dictionaries(names(), inner, max_size=3)


def listed(inner):
    return st.lists(inner, min_size=1, max_size=3)


def bounds():
    return st.sampled_from(NUMBERS)


SCALAR_WORDS = {
    "type": lambda _: (
        st.sampled_from(TYPES)
        | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True)
    ),
    "enum": lambda _: st.lists(values(), min_size=1, max_size=4, unique_by=repr),
    "const": lambda _: values(),
    "minLength": lambda _: COUNTS,
    "maxLength": lambda _: st.integers(0, 6),
    "pattern": lambda _: st.sampled_from(PATTERNS),
    "format": lambda _: st.sampled_from(FORMATS),
    "minimum": lambda _: bounds(),
    "maximum": lambda _: bounds(),
    "exclusiveMinimum": lambda _: bounds(),
    "exclusiveMaximum": lambda _: bounds(),
    "multipleOf": lambda _: st.sampled_from(STEPS),
    "minItems": lambda _: COUNTS,
    "maxItems": lambda _: COUNTS,
    "uniqueItems": lambda _: st.booleans(),
    "minProperties": lambda _: COUNTS,
    "maxProperties": lambda _: COUNTS,
    "required": lambda _: name_lists(),
    "nullable": lambda _: st.booleans(),
}
SHARED_WORDS = {
    **SCALAR_WORDS,
    "properties": named,
    "patternProperties": lambda inner: st.dictionaries(
        st.sampled_from(PATTERNS), inner, max_size=2
    ),
    "additionalProperties": lambda inner: inner,
    "propertyNames": lambda inner: inner,
    "contains": lambda inner: inner,
    "allOf": listed,
    "anyOf": listed,
    "oneOf": listed,
    "not": lambda inner: inner,
    "if": lambda inner: inner,
    "then": lambda inner: inner,
    "else": lambda inner: inner,
}
NEWER_WORDS = {
    "minContains": lambda _: COUNTS,
    "maxContains": lambda _: COUNTS,
    "dependentRequired": lambda _: st.dictionaries(names(), name_lists(), max_size=2),
    "dependentSchemas": lambda inner: st.dictionaries(names(), inner, max_size=2),
    "unevaluatedItems": lambda inner: inner,
    "unevaluatedProperties": lambda inner: inner,
}
LISTED_ITEMS = {
    "items": lambda inner: inner | listed(inner),
    "additionalItems": lambda inner: inner,
}
WORDS_2020 = {
    **SHARED_WORDS,
    **NEWER_WORDS,
    "prefixItems": listed,
    "items": lambda inner: inner,
    "dependencies": lambda inner: st.dictionaries(names(), inner | name_lists(), max_size=2),
}
WORDS_2019 = {**SHARED_WORDS, **NEWER_WORDS, **LISTED_ITEMS}
WORDS_7 = {
    **SHARED_WORDS,
    **LISTED_ITEMS,
    "dependencies": lambda inner: st.dictionaries(names(), inner | name_lists(), max_size=2),
}


@dataclass(frozen=True)
class Draft:
    """A draft's words, where its definitions stand, and the references that the strategies write."""

    uri: str
    words: dict = field(repr=False)
    definitions: str
    references: tuple[dict, ...] = field(repr=False)


DRAFTS = (
    Draft(
        "https://json-schema.org/draft/2020-12/schema",
        WORDS_2020,
        "$defs",
        (
            {"$ref": "#/$defs/one"},
            {"$ref": "#/$defs/two"},
            {"$ref": "#anchored"},
            {"$ref": "#"},
            {"$dynamicRef": "#moving"},
        ),
    ),
    Draft(
        "https://json-schema.org/draft/2019-09/schema",
        WORDS_2019,
        "$defs",
        ({"$ref": "#/$defs/one"}, {"$ref": "#anchored"}, {"$ref": "#"}, {"$recursiveRef": "#"}),
    ),
    Draft(
        "http://json-schema.org/draft-07/schema#",
        WORDS_7,
        "definitions",
        ({"$ref": "#/definitions/one"}, {"$ref": "#/definitions/two"}, {"$ref": "#"}),
    ),
)

# Words that say something of one kind of value: a schema that names its type draws from its own.
KIND_WORDS = {
    "string": ("minLength", "maxLength", "pattern", "format", "enum", "const"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "enum"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "enum"),
    "array": (
        *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
        *("minContains", "maxContains", "minItems", "maxItems", "uniqueItems"),
    ),
    "object": (
        *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties"),
        *("propertyNames", "required", "minProperties", "maxProperties"),
        *("dependentRequired", "dependentSchemas", "dependencies"),
    ),
    "boolean": ("enum", "const", "nullable"),
    "null": ("nullable",),
}


@st.composite
def loose(draw, draft, inner):
    """Any words beside one another."""
    chosen = draw(st.lists(st.sampled_from(sorted(draft.words)), max_size=4, unique=True))
    return {word: draw(draft.words[word](inner)) for word in chosen}


@st.composite
def typed(draw, draft, inner):
    """A type, words that concern it, and perhaps one that combines schemas."""
    kind = draw(st.sampled_from(TYPES))
    own = [word for word in KIND_WORDS[kind] if word in draft.words]
    chosen = draw(st.lists(st.sampled_from(own), max_size=4, unique=True))
    if draw(st.integers(0, 3)) == 0:
        chosen.append(draw(st.sampled_from(("allOf", "anyOf", "oneOf", "not", "nullable"))))
    return {
        "type": kind,
        **{word: draw(draft.words[word](inner)) for word in dict.fromkeys(chosen)},
    }


def inner_schemas(draft, max_leaves=6):
    def grown(inner):
        return typed(draft, inner) | loose(draft, inner)

    leaf = st.one_of(
        typed(draft, st.booleans()), st.booleans(), st.sampled_from(draft.references).map(dict)
    )
    return st.recursive(leaf, grown, max_leaves=max_leaves)


@st.composite
def schemas(draw, drafts=DRAFTS):
    """Schemas of the drafts 2020-12, 2019-09 and 7, nested and combined, with references that resolve."""
    draft = draw(st.sampled_from(drafts))
    inner = inner_schemas(draft)
    schema = dict(draw(typed(draft, inner) | loose(draft, inner)))
    text = repr(schema)
    definitions = {}
    if "/one'" in text or "/two'" in text:
        definitions |= {name: draw(inner_schemas(draft, max_leaves=3)) for name in ("one", "two")}
    if "#anchored" in text or "#anchored" in repr(definitions):
        definitions["anchored"] = {"$anchor": "anchored", **draw(typed(draft, st.booleans()))}
    if "#moving" in text or "#moving" in repr(definitions):
        definitions["moving"] = {"$dynamicAnchor": "moving", **draw(typed(draft, st.booleans()))}
    if definitions and not {"one", "two"} <= definitions.keys():
        definitions |= {name: draw(st.booleans()) for name in ("one", "two")}
    if definitions:
        schema[draft.definitions] = definitions
    if draft is not DRAFTS[0] or draw(st.booleans()):
        schema["$schema"] = draft.uri
    return schema


@st.composite
def easy_schemas(draw):
    """Schemas of everyday kinds that some value satisfies whatever is drawn."""
    inner = st.recursive(easy_scalars(), easy_containers, max_leaves=5)
    return draw(easy_containers(inner) | inner)


@st.composite
def easy_scalars(draw):
    kind = draw(
        st.sampled_from(("string", "integer", "number", "boolean", "null", "enum", "format"))
    )
    low, high = sorted(draw(st.tuples(st.integers(-20, 20), st.integers(-20, 20))))
    match kind:
        case "string":
            return {"type": "string", "minLength": max(0, low), "maxLength": max(0, high)}
        case "integer" | "number":
            return {"type": kind, "minimum": low, "maximum": high}
        case "enum":
            return {"enum": draw(st.lists(values(), min_size=1, max_size=4, unique_by=repr))}
        case "format":
            return {"type": "string", "format": draw(st.sampled_from(FORMATS))}
        case _:
            return {"type": kind}


@st.composite
def easy_containers(draw, inner):
    kind = draw(st.sampled_from(("object", "array", "anyOf", "tuple")))
    if kind == "array":
        return {"type": "array", "items": draw(inner), "maxItems": draw(st.integers(0, 3))}
    if kind == "tuple":
        return {"type": "array", "prefixItems": draw(listed(inner)), "items": False}
    if kind == "anyOf":
        return {"anyOf": draw(listed(inner))}
    properties = draw(named(inner))
    required = [name for name in properties if draw(st.booleans())]
    schema = {"type": "object", "properties": properties, "required": required}
    return schema if draw(st.booleans()) else {**schema, "additionalProperties": False}


ODD_NAMES = (
    *("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "<s>", "</s>"),
    *(
        '"',
        "\\",
        "\\u0000",
        "\0",
        "\n",
        "\x1f",
        "\x7f",
        "\u2028",
        "\ufeff",
        "\U0010ffff",
        "~0/~1",
        "%25",
    ),
    *(
        "__proto__",
        "constructor",
        "$ref",
        "$defs",
        "type",
        "",
        " ",
        "a" * 5_000,
        "-" + "\N{COMBINING ACUTE ACCENT}" * 40,
    ),
    *("\ud800", "a\udfff"),
)
ODD_NUMBERS = (
    *(math.nan, math.inf, -math.inf, -0.0, 1e308, 5e-324, -1, 1e400, 2**63, -(2**64), 10**40),
    *(10**4_000, 0.1 + 0.2, 1e22, 2**31),
)
ODD_PATTERNS = (
    *(
        "(a+)+$",
        "(a|aa)*b",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(",
        "[",
        "a{2,1}",
        "a{1000}",
        "(a{99}){99}",
    ),
    *(
        r"\1(a)",
        r"(?<=a)b",
        r"(?<!a)",
        r"\p{L}",
        r"\u{1f600}",
        "[^]",
        "[]",
        r"\cA",
        r"(?i)a",
        "\0",
        "\ud800",
    ),
    *(r"(?P<a>b)", "^" + "(" * 200 + ")" * 200, "a?" * 60 + "a" * 60, r"[\s\S]{0,100000}"),
)
ODD_REFERENCES = (
    *(
        "#",
        "#/",
        "#/$defs/none",
        "#nowhere",
        "http://a.b/c#",
        "file:///etc/passwd",
        "",
        "#/%",
        "#/properties/a",
    ),
    *("#/allOf/0", "%", "urn:uuid:1", "#/$defs/" + "a" * 2_000, "//", "#/$defs/~2"),
)


def odd_values():
    """What has no place in a schema, Python values that are no JSON among it."""
    return st.one_of(
        st.sampled_from(ODD_NUMBERS),
        st.sampled_from(ODD_NAMES),
        st.sampled_from(
            (b"", (), {1: 2}, {None: True}, {"a"}, object, len, 1j, [[]], {}, [None], "a")
        ).map(copy.copy),
        values(),
    )


def nested(depth):
    """A schema of so many levels, in one of several ways."""

    def built(wrap):
        schema = {"type": "string"}
        for _ in range(depth):
            schema = wrap(schema)
        return schema

    ways = (
        lambda s: {"properties": {"a": s}, "required": ["a"]},
        lambda s: {"items": s, "minItems": 1, "type": "array"},
        lambda s: {"not": s},
        lambda s: {"anyOf": [s, {"const": 1}]},
        lambda s: {"allOf": [s]},
        lambda s: {"oneOf": [s, {"type": "null"}]},
        lambda s: {"additionalProperties": s, "minProperties": 1},
        lambda s: {"const": s},
    )
    return st.sampled_from(ways).map(built)


@st.composite
def hostile_schemas(draw):
    """Schemas with something wrong in them: kinds, bounds, names, patterns, references, depth."""
    schema = draw(schemas())
    for _ in range(draw(st.integers(1, 3))):
        word, value = draw(odd_words())
        _put(draw, schema, word, value)
    return schema


def odd_words():
    count = st.sampled_from((2**31, 10**9, 10**40, -1, 0.5, 1e400, math.nan, 5_000))
    counts = (
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "minContains",
    )
    numbers = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    words = sorted(WORDS_2020 | WORDS_7)
    odd_named = st.dictionaries(
        st.sampled_from(ODD_NAMES),
        st.booleans() | st.fixed_dictionaries({"type": st.just("null")}),
        max_size=3,
    )
    return st.one_of(
        st.tuples(st.sampled_from(words), odd_values()),
        st.tuples(st.sampled_from(counts), count),
        st.tuples(st.sampled_from(numbers), st.sampled_from(ODD_NUMBERS)),
        st.tuples(st.sampled_from(("pattern", "$anchor", "$id")), st.sampled_from(ODD_PATTERNS)),
        st.tuples(
            st.just("patternProperties"),
            st.dictionaries(st.sampled_from(ODD_PATTERNS), st.booleans(), max_size=2),
        ),
        st.tuples(
            st.sampled_from(("$ref", "$dynamicRef", "$recursiveRef", "$schema", "$id")),
            st.sampled_from(ODD_REFERENCES),
        ),
        st.tuples(st.sampled_from(("properties", "dependentSchemas", "$defs")), odd_named),
        st.tuples(st.just("required"), st.lists(st.sampled_from(ODD_NAMES), max_size=3)),
        st.tuples(
            st.sampled_from(("enum", "type", "examples")), st.lists(odd_values(), max_size=4)
        ),
        st.tuples(
            st.sampled_from(("not", "items", "contains", "additionalProperties")),
            st.sampled_from((3, 40, 200)).flatmap(nested),
        ),
    )


def _put(draw, schema, word, value):
    """Put a word into the schema or into one of the schemas in it."""
    places = [schema]
    for place in places:
        parts = place.values() if isinstance(place, dict) else place
        places += [part for part in parts if isinstance(part, (dict, list))]
    inside = [place for place in places if isinstance(place, dict)]
    inside[draw(st.integers(0, len(inside) - 1))][word] = value
