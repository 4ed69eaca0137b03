import pytest
from calls.accept import is_accepted, plain
from calls.data import Example


def bfcl(accept):
    return Example("id", "BFCL-simple", [{"name": "f"}, {"name": "g"}], [], [], accept)


def ace(accept, tools=("f", "g")):
    return Example("id", "ACEBench-normal", [{"name": n} for n in tools], [], [], accept)


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


BFCL = bfcl([{"f": {"city": ["Paris", "Paris, FR"], "unit": ["", "C"], "n": [2]}}])


@pytest.mark.parametrize(
    ("arguments", "is_good"),
    [
        ({"city": "Paris", "n": 2}, True),
        ({"city": "paris FR", "n": 2.0}, True),
        ({"city": "Paris", "n": 2, "unit": "c"}, True),
        ({"city": "Paris", "n": 2, "unit": "F"}, False),
        ({"city": "Paris"}, False),
        ({"city": "Rome", "n": 2}, False),
        ({"city": "Paris", "n": "2"}, False),
        ({"city": "Paris", "n": 2, "more": 1}, False),
    ],
)
def test_bfcl_takes_any_listed_value_and_leaves_out_what_may_be(arguments, is_good):
    assert is_accepted([call("f", **arguments)], BFCL) is is_good


def test_bfcl_never_takes_true_for_one():
    example = bfcl([{"f": {"n": [1], "b": [True]}}])
    assert is_accepted([call("f", n=1, b=True)], example)
    assert not is_accepted([call("f", n=True, b=1)], example)


def test_bfcl_lists_are_single_values():
    example = bfcl([{"f": {"xs": [["a", "b"], ["b", "a"]]}}])
    assert is_accepted([call("f", xs=["B", "A"])], example)
    assert not is_accepted([call("f", xs=["a"])], example)
    assert not is_accepted([call("f", xs="a")], example)


def test_bfcl_objects_hold_lists_of_acceptable_values():
    example = bfcl([{"f": {"who": [{"name": ["Al", "Bo"], "age": ["", 3]}]}}])
    assert is_accepted([call("f", who={"name": "Bo"})], example)
    assert is_accepted([call("f", who={"name": "Al", "age": 3})], example)
    assert not is_accepted([call("f", who={"name": "Al", "age": 4})], example)
    assert not is_accepted([call("f", who={"age": 3})], example)


def test_bfcl_lists_of_objects():
    example = bfcl([{"f": {"rows": [[{"k": ["a"]}, {"k": ["b", "c"]}]]}}])
    assert is_accepted([call("f", rows=[{"k": "a"}, {"k": "c"}])], example)
    assert not is_accepted([call("f", rows=[{"k": "c"}, {"k": "a"}])], example)


def test_calls_match_in_any_order_each_with_an_entry_of_its_own():
    example = bfcl([{"f": {"x": [1, 2]}}, {"f": {"x": [1]}}])
    assert is_accepted([call("f", x=1), call("f", x=2)], example)
    assert is_accepted([call("f", x=2), call("f", x=1)], example)
    assert not is_accepted([call("f", x=2), call("f", x=2)], example)
    assert not is_accepted([call("f", x=1)], example)


def test_acebench_wants_the_value_itself():
    example = ace({"f": {"x": "A b", "o": {"k": [1]}}})
    assert is_accepted([call("f", x="a B", o={"k": [1]})], example)
    assert not is_accepted([call("f", x="A b", o={"k": [2]})], example)
    assert not is_accepted([call("f", x="A b", o={"k": [1], "l": 1})], example)
    assert not is_accepted([call("f", x="A b")], example)
    assert not is_accepted([call("g", x="A b", o={"k": [1]})], example)


def test_acebench_numbers_repeated_tools():
    example = ace({"f_1": {"x": 1}, "f_2": {"x": 2}})
    assert is_accepted([call("f", x=2), call("f", x=1)], example)


def test_acebench_tool_whose_own_name_ends_in_a_number():
    example = ace({"f_1": {"x": 1}}, tools=("f_1", "f"))
    assert is_accepted([call("f_1", x=1)], example)
    assert not is_accepted([call("f", x=1)], example)


def test_acebench_list_means_alternatives():
    example = ace([{"f": {"x": 1}}, {"f": {"x": 2}}])
    assert is_accepted([call("f", x=2)], example)
    assert not is_accepted([call("f", x=1), call("f", x=2)], example)


def test_strings_lose_case_spaces_and_light_punctuation():
    assert plain("It's a-B_c, d.*^/") == 'it"sabcd'
