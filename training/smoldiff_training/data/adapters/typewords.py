"""Python type words, as several data sets write a parameter's type, to JSON Schema.

`List[int]`, `str, optional`, `Dict[str, Any]`, `Union[int, str]`, `int or float`, `Tuple[float, float]`: they are read
with Python's own parser. A word with no counterpart in JSON (`Callable`, `np.ndarray` of who knows what) allows anything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from smoldiff_training.data.rows import Json

MAX_CHARACTERS = 200  # longer is a description that slipped into the type
JSON_TYPES = {
    "string": ("string", "str", "text", "char", "date", "datetime", "time", "uuid", "url"),
    "integer": ("integer", "int", "int32", "int64", "long"),
    "number": ("number", "float", "float32", "float64", "double", "decimal", "numeric"),
    "boolean": ("boolean", "bool"),
    "array": ("array", "list", "tuple", "set", "frozenset", "sequence", "iterable", "ndarray"),
    "object": ("object", "dict", "map", "mapping", "hashmap", "dictionary", "json"),
    "null": ("null", "none", "nonetype"),
}
TYPE_OF_WORD = {word: name for name, words in JSON_TYPES.items() for word in words}
ANYTHING: Json = {}


def schema_of_words(words: str) -> tuple[Json, bool]:
    """The schema that type words stand for, and whether they call the parameter optional."""
    schema, is_optional = _schema_of_words(words.strip())
    return dict(schema), is_optional


@lru_cache(maxsize=4096)
def _schema_of_words(words: str) -> tuple[Json, bool]:
    if len(words) > MAX_CHARACTERS:
        return ANYTHING, "optional" in words.lower()
    words = re.sub(r"\b(\w+)\[\]", r"list[\1]", words)  # `string[]`, as in TypeScript
    try:
        node = ast.parse(words, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return first_known(words), "optional" in words.lower()
    if isinstance(node, ast.Tuple):  # `str, optional`
        kept = [part for part in node.elts if not is_optional_word(part)]
        is_optional = len(kept) < len(node.elts)
        return union([schema_of(part) for part in kept]), is_optional or has_optional(kept)
    return schema_of(node), has_optional([node])


def is_optional_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.lower() == "optional"


def has_optional(nodes: Sequence[ast.expr]) -> bool:
    return any(isinstance(n, ast.Subscript) and word_of(n.value) == "optional" for n in nodes)


def first_known(words: str) -> Json:
    """What is no Python, such as `list of int (optional)`, is read by its first type word."""
    for word in re.findall(r"[a-z]+", words.lower()):
        if word in TYPE_OF_WORD:
            return {"type": TYPE_OF_WORD[word]}
    return ANYTHING


def word_of(node: ast.expr) -> str:
    """The last name of `typing.List` or `np.ndarray`, in lower case; "" for what is no name."""
    if isinstance(node, ast.Attribute):
        return node.attr.lower()
    if isinstance(node, ast.Constant) and node.value is None:
        return "none"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.lower()
    return node.id.lower() if isinstance(node, ast.Name) else ""


def schema_of(node: ast.expr) -> Json:
    match node:
        case ast.Subscript(value=value, slice=ast.Tuple(elts=parts)):
            return generic(word_of(value), parts)
        case ast.Subscript(value=value, slice=part):
            return generic(word_of(value), [part])
        case ast.BoolOp(op=ast.Or(), values=parts):  # `int or float`
            return union([schema_of(part) for part in parts])
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):  # `int | None`
            return union([schema_of(left), schema_of(right)])
        case _:
            name = TYPE_OF_WORD.get(word_of(node))
            return {"type": name} if name else ANYTHING


def generic(word: str, parts: list[ast.expr]) -> Json:
    """The schema of `word[parts]`."""
    build = GENERICS.get(word) or GENERICS.get(TYPE_OF_WORD.get(word, ""))
    return build(parts) if build else ANYTHING


def array(parts: list[ast.expr]) -> Json:
    items = union([schema_of(part) for part in parts])
    return {"type": "array"} | ({"items": items} if items else {})


def fixed_tuple(parts: list[ast.expr]) -> Json:
    kept = [p for p in parts if not (isinstance(p, ast.Constant) and p.value is ...)]
    bounds = {} if len(kept) < len(parts) else {"minItems": len(kept), "maxItems": len(kept)}
    return array(kept) | bounds


def mapping(parts: list[ast.expr]) -> Json:
    values = schema_of(parts[1]) if len(parts) == 2 else ANYTHING
    return {"type": "object"} | ({"additionalProperties": values} if values else {})


def literal(parts: list[ast.expr]) -> Json:
    values = [p.value for p in parts if isinstance(p, ast.Constant)]
    plain = [v for v in values if v is None or isinstance(v, str | int | float)]
    return {"enum": plain} if len(plain) == len(parts) else ANYTHING


GENERICS: dict[str, Callable[[list[ast.expr]], Json]] = {
    "array": array,
    "tuple": fixed_tuple,
    "object": mapping,
    "literal": literal,
    "union": lambda parts: union([schema_of(part) for part in parts]),
    "optional": lambda parts: union([*(schema_of(part) for part in parts), {"type": "null"}]),
    "annotated": lambda parts: schema_of(parts[0]),
}


def union(options: list[Json]) -> Json:
    """A schema that allows what any option allows; a whole number is a number."""
    if not options or ANYTHING in options:
        return ANYTHING
    distinct = [o for i, o in enumerate(options) if o not in options[:i]]
    if {"type": "number"} in distinct:
        distinct = [o for o in distinct if o != {"type": "integer"}]
    if len(distinct) == 1:
        return distinct[0]
    if all(o.keys() == {"type"} and isinstance(o["type"], str) for o in distinct):
        return {"type": [o["type"] for o in distinct]}
    return {"anyOf": distinct}
