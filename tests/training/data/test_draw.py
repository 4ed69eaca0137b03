"""Rows are drawn as they are, then in new versions, with synthetic ones between: each from its number alone."""

import pickle
from dataclasses import replace

import jsonschema
import pytest

from smoldiff_training.config import ConfigError
from smoldiff_training.data.draw import draw_rows
from smoldiff_training.data.rows import Row

WORDS = ("find_flights", "play_song", "rent_bike", "mix_paint", "water_plants", "grade_essay")


def row(name: str, value: str) -> Row:
    properties = {"subject": {"type": "string", "description": f"What to {name.split('_')[0]}"}}
    parameters = {"type": "object", "properties": properties, "required": ["subject"]}
    tool = {"name": name, "description": name.replace("_", " "), "parameters": parameters}
    said = [{"role": "user", "content": f"Please {name.replace('_', ' ')}: {value}"}]
    return Row("written here", [tool], said, [{"name": name, "arguments": {"subject": value}}])


ROWS = [row(name, f"Trelborough {idx}") for idx, name in enumerate(WORDS)]


def draw(rows=ROWS, num_rows=60, augment=True, synthetic_share=0.25, seed=0):
    return draw_rows(rows, num_rows, augment, synthetic_share, "", seed)


def test_zero_rows_gives_each_row_once():
    assert list(draw(num_rows=0)) == ROWS


def test_a_row_comes_as_it_is_first_and_in_other_versions_after_that():
    drawn = draw(synthetic_share=0.0)
    assert sorted(map(str, drawn[:6])) == sorted(map(str, ROWS))
    assert list(drawn[:6]) != ROWS
    again = drawn[6:]
    assert len(again) == 54
    assert len({str(r) for r in again}) > 40
    for one in again:
        (call,) = one.calls
        (tool,) = [t for t in one.tools if t["name"] == call["name"]]
        jsonschema.validate(call["arguments"], tool["parameters"])


def test_the_synthetic_share_is_kept_to_the_row():
    drawn = draw()
    assert sum(one.source == "synthetic" for one in drawn) == 15
    assert all(one.calls for one in drawn)


def test_without_new_versions_no_row_comes_twice():
    drawn = draw(augment=False)
    real = [one for one in drawn if one.source != "synthetic"]
    assert sorted(map(str, real)) == sorted(map(str, ROWS))
    assert len(drawn) == 6 + 15


def test_a_row_that_is_given_twice_comes_as_it_is_once():
    drawn = draw(rows=[ROWS[0], ROWS[1], ROWS[0]], num_rows=3, synthetic_share=0.0)
    assert sum(one == ROWS[1] for one in drawn) == 1
    assert drawn.is_again_N.sum() == 1
    first = drawn.picks_N.tolist().index(0)
    assert drawn[first] == ROWS[0]
    assert not drawn.is_again_N[first]


def test_rows_without_calls_are_not_drawn():
    drawn = draw(rows=[replace(ROWS[0], calls=[], answer="Hello"), *ROWS[1:]], num_rows=0)
    assert list(drawn) == ROWS[1:]


def test_a_row_depends_on_its_number_and_the_seed_alone():
    drawn, same, other = draw(), draw(), draw(seed=1)
    assert [same[i] for i in reversed(range(60))] == list(reversed(drawn))
    assert list(pickle.loads(pickle.dumps(drawn))) == list(drawn)
    assert list(other) != list(drawn)
    assert drawn[-1] == drawn[59]


@pytest.mark.parametrize(
    ("rows", "needs"), [(ROWS[:4], "5 tools"), (ROWS[:1] * 9, "5 tools")], ids=["4", "1"]
)
def test_synthetic_rows_need_enough_to_be_made_of(rows, needs):
    with pytest.raises(ConfigError, match=needs):
        draw(rows=rows)


def test_synthetic_rows_need_requests_that_can_be_joined():
    tools = [one.tools[0] for one in ROWS]
    rows = [replace(one, tools=tools) for one in ROWS]
    with pytest.raises(ConfigError, match="share no tool"):
        draw(rows=rows)
