"""What the cursor writes for decisions beyond named keys: unnamed members, needed keys, contained items, any JSON."""

import json

import pytest

from smoldiff.scaffold.anything import anything
from smoldiff.scaffold.cost import UNKNOWN, Costs
from smoldiff.scaffold.cursor import Choices, resume
from smoldiff.scaffold.keyset import completed
from smoldiff.scaffold.pieces import (
    Branch,
    Entry,
    Items,
    Keys,
    Literal,
    OtherKeys,
    Sequence,
    Slot,
)
from smoldiff.scaffold.remainder import member_key, member_value, object_of_key, real_pointer
from smoldiff.scaffold.style import SPACED
from smoldiff.schema.nodes import ALL_TYPES, Integer, Opaque, String

INTEGER = Slot("", Integer(""))
KEY = Slot("", String("", patterns=("^x",)))
ANY_KEY = Slot("", String(""))


def entry(key, is_required=False, value=INTEGER):
    return Entry(key, json.dumps(key), value, is_required)


def written(piece, choices=None, prefix=""):
    remainder = resume(piece, SPACED, prefix, choices or Choices())
    return remainder.text(lambda gap: f"<{gap.pointer}>")


def decided(piece, choices=None):
    return [d.pointer for d in resume(piece, SPACED, "", choices or Choices()).decisions]


def test_unnamed_members_follow_the_named_ones_with_slots_for_their_keys():
    keys = Keys(
        "", (entry("a", True),), (OtherKeys(KEY, INTEGER), OtherKeys(ANY_KEY, Literal("0")))
    )
    assert written(keys) == '{"a": </a>}'
    assert (
        written(keys, Choices(others={"": (1, 0)})) == '{"a": </a>, "</~k0>": 0, "</~k1>": </~v1>}'
    )


def test_unnamed_members_that_are_written_already_are_not_written_again():
    keys = Keys("", (), (OtherKeys(ANY_KEY, Literal("0")),))
    choices = Choices(others={"": (0, 0)})
    assert written(keys, choices, '{"x": "a"') == ', "</~k1>": 0}'
    assert written(keys, choices, '{"x": "a", "y": "b", "z": "c"') == "}"


@pytest.mark.parametrize(
    ("wanted", "names"), [((), ()), (("a",), ("a", "b", "c")), (("b",), ("b", "c"))]
)
def test_a_key_brings_the_keys_that_it_needs(wanted, names):
    keys = Keys("", tuple(map(entry, "abcd")), needs=(("a", ("b",)), ("b", ("c",))))
    text = written(keys, Choices(keys={"": frozenset(wanted)}))
    assert text == "{" + ", ".join(f'"{name}": </{name}>' for name in names) + "}"


def test_too_few_keys_are_made_up_from_the_named_then_from_the_others():
    closed = Keys("", (entry("a"), entry("b", True), entry("c")), min_keys=2)
    assert written(closed) == '{"a": </a>, "b": </b>}'
    is_open = Keys("", (entry("a"),), (OtherKeys(ANY_KEY, INTEGER),), min_keys=3)
    assert written(is_open).count("~k") == 2
    assert completed(is_open, frozenset({"a"}), (0, 0), 0) == (frozenset({"a"}), (0, 0))


def test_contained_items_are_the_last_ones():
    items = Items("", (), INTEGER, 0, None, contained=(Literal("7"), Literal("8")))
    assert written(items) == "[7, 8]"
    assert written(items, Choices(lengths={"": 3})) == "[</0>, 7, 8]"


def test_any_json_is_one_slot_until_its_kind_is_decided():
    slot = Slot("", Opaque(""))
    kinds = anything("", ALL_TYPES)
    assert len(kinds) == len(ALL_TYPES)
    assert written(slot) == "<>"
    assert written(slot, Choices(kinds={"": ALL_TYPES.index("null")})) != "<>"
    texts = {written(slot, Choices(kinds={"": idx})) for idx in range(len(kinds))}
    assert texts == {'"<>"', "<>", "null", "[]", "{}"}


def test_decisions_are_told_from_the_outside_in():
    inner = Keys("", (entry("b"),))
    outer = Keys(
        "",
        (
            entry("a", True, inner),
            entry("c", True, Branch("", (INTEGER, inner), ("", ""), ("", "{"))),
        ),
    )
    assert decided(Keys("", (entry("x"), entry("a", True, outer)))) == ["", "/a/a", "/a/c"]
    assert decided(Items("", (INTEGER,), None, 1, None)) == []
    assert decided(Items("", (), INTEGER, 0, 3)) == [""]
    nested = Sequence((Literal("["), Slot("", Opaque("")), Literal("]")))
    assert decided(nested) == [""]


def test_pointers_of_unnamed_members_become_real_ones_when_their_keys_are_known():
    inside = member_value(member_value("/a", 0), 2)
    texts = {member_key("/a", 0): "b/c", member_key(member_value("/a", 0), 2): "\\u00e9"}
    assert real_pointer(inside, texts) == "/a/b~1c/é"
    assert object_of_key(member_key("/a", 0)) == "/a"
    assert object_of_key("/a/k0") is None


def test_costs_tell_parts_that_only_the_gate_knows():
    costs = Costs()
    unknown = Slot("", Opaque("", is_free=False))
    assert costs.of(Keys("", (entry("a", True), entry("b", False, unknown)))) == 1
    assert not costs.is_known(Keys("", (entry("b", True, unknown),)))
    branch = Branch("", (unknown, INTEGER, Literal("1")), ("",) * 3, ("",) * 3)
    assert costs.cheapest(branch) == 2
    assert costs.of(Items("", (), unknown, 0, None)) == 0
    assert costs.of(Items("", (), unknown, 2, None)) == 2 * UNKNOWN
