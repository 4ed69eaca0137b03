"""Sources are read, limited, checked, deduplicated and drawn by weight; what is dropped is reported."""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import datasets
import pytest

from smoldiff_training.data.published import SourceError, raw_rows
from smoldiff_training.data.rows import Row
from smoldiff_training.data.sources import (
    LoadedRows,
    LoadedSource,
    SourceReport,
    load_rows,
    weighted_rows,
)
from smoldiff_training.head.config import HeadDataConfig, SourceConfig

SAMPLES = Path(__file__).parent / "samples"
TOOL = {
    "name": "roll",
    "parameters": {
        "type": "object",
        "properties": {"faces": {"type": "integer"}},
        "required": ["faces"],
    },
}


def raw(words: str, faces: object = 6, tool: str = "roll") -> dict:
    return {
        "source": "test",
        "tools": [TOOL | {"name": tool}],
        "messages": [{"role": "user", "content": words}],
        "calls": [{"name": tool, "arguments": {"faces": faces}}],
    }


def written(path: Path, rows: list) -> str:
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.fixture
def dev(tmp_path) -> str:
    return written(tmp_path / "dev.jsonl", [raw("a question of dev")])


def loaded(dev: str, *sources: SourceConfig, exclude: tuple[str, ...] = ()) -> LoadedRows:
    return load_rows(HeadDataConfig(sources, dev, exclude))


def words_of(rows) -> list[str]:
    return [row.messages[-1]["content"] for row in rows]


@pytest.mark.parametrize(
    ("name", "num_read", "num_rows", "dropped"),
    [
        ("hermes", 4, 3, {"unreadable": 1, "no call in it": 1}),
        ("xlam", 4, 2, {"unreadable": 1, "invalid call": 1}),
        ("glaive", 4, 3, {"unreadable": 1, "no call in it": 1}),
        ("apigen_mt", 3, 3, {"unreadable": 1}),
        ("when2call", 7, 5, {"unreadable": 2}),
        ("nestful", 4, 3, {"unreadable": 1}),
        ("argilla_apigen", 3, 2, {"unreadable": 1}),
        ("smoldiff", 5, 3, {"unreadable": 2}),
    ],
)
def test_every_format_is_read_and_its_bad_rows_are_counted(dev, name, num_read, num_rows, dropped):
    found = loaded(dev, SourceConfig(name, str(SAMPLES / f"{name}.jsonl")))
    report = found.sources[0].report
    assert (report.num_read, report.num_rows, dict(report.dropped)) == (num_read, num_rows, dropped)
    assert len(found.rows) == num_rows


def test_report_is_a_line_with_the_first_example_of_each_reason(dev):
    path = str(SAMPLES / "xlam.jsonl")
    (line,) = loaded(dev, SourceConfig("xlam", path)).report
    assert line == (
        f"{path}: 4 read, 2 rows; 1 invalid call (row 3: roll: arguments/faces: 'two' is not of type 'array');"
        " 1 unreadable (row 4: answers: neither JSON nor a Python literal:"
        ' \'[{"name": "roll", "arguments": {"faces\')'
    )


def test_source_in_another_format_is_an_error_with_the_first_problem(dev):
    with pytest.raises(SourceError) as caught:
        loaded(dev, SourceConfig("hermes", str(SAMPLES / "xlam.jsonl")))
    assert str(caught.value).startswith("data.sources[0]: 4 of 4 rows of ")
    assert "row 1: conversations: expected a list, found None" in str(caught.value)


def test_source_without_a_usable_row_is_an_error(dev, tmp_path):
    path = written(tmp_path / "a.jsonl", [raw("roll", "six")])
    with pytest.raises(SourceError, match=r"^data.sources\[0\]: no usable row; .*1 invalid call"):
        loaded(dev, SourceConfig("smoldiff", path))


def test_limit_counts_published_rows_and_reads_no_further(dev, tmp_path):
    path = written(tmp_path / "a.jsonl", [raw("one"), raw("two"), "{", raw("three")])
    source = loaded(dev, SourceConfig("smoldiff", path, limit=2)).sources[0]
    assert words_of(source.rows) == ["one", "two"]
    assert source.report.num_read == 2


def test_equal_rows_are_kept_once_within_and_across_sources(dev, tmp_path):
    first = written(tmp_path / "a.jsonl", [raw("Roll it!"), raw("roll  IT"), raw("roll it", 8)])
    second = written(tmp_path / "b.jsonl", [raw("roll it"), raw("roll it", tool="throw")])
    found = loaded(dev, SourceConfig("smoldiff", first), SourceConfig("smoldiff", second))
    assert words_of(found.sources[0].rows) == ["Roll it!", "roll it"]
    assert [row.calls[0]["name"] for row in found.sources[1].rows] == ["throw"]
    assert [s.report.dropped["seen before"] for s in found.sources] == [1, 1]


def test_questions_of_evaluation_files_are_not_trained_on_whatever_the_answer(dev, tmp_path):
    held_out = written(tmp_path / "test.jsonl.gz", [raw("roll it", 20)])
    rows = [raw("Roll it."), raw("roll it twice"), raw("A question of dev?"), raw("roll it", tool="throw")]  # fmt: skip
    path = written(tmp_path / "a.jsonl", rows)
    found = loaded(dev, SourceConfig("smoldiff", path), exclude=(held_out,))
    assert [(r.messages[0]["content"], r.calls[0]["name"]) for r in found.rows] == [
        ("roll it twice", "roll"),
        ("roll it", "throw"),
    ]
    assert found.sources[0].report.dropped["in an evaluation file"] == 2


def test_unreadable_evaluation_file_is_an_error(dev, tmp_path):
    path = written(tmp_path / "a.jsonl", [raw("roll")])
    broken = written(tmp_path / "test.jsonl", [raw("x"), {"tools": []}])
    with pytest.raises(
        SourceError, match=r"^data\.exclude\[0\]: .*test\.jsonl: row 2: calls: expected a list"
    ):
        loaded(dev, SourceConfig("smoldiff", path), exclude=(broken,))


def some_rows(*counts: int, weights: tuple[float, ...]) -> LoadedRows:
    sources = []
    for name, count, weight in zip("abc", counts, weights, strict=False):
        rows = tuple(Row(name, [], [{"role": "user", "content": str(i)}], []) for i in range(count))
        sources.append(LoadedSource(weight, rows, SourceReport(name)))
    return LoadedRows(tuple(sources))


def test_zero_rows_asks_for_each_row_once_in_order():
    found = some_rows(2, 1, weights=(1.0, 5.0))
    assert weighted_rows(found, 0, seed=1) == found.rows
    assert words_of(found.rows) == ["0", "1", "0"]


def test_row_of_double_weight_is_drawn_twice_as_often():
    found = some_rows(100, 300, weights=(2.0, 1.0))
    drawn = Counter(row.source for row in weighted_rows(found, 5000, seed=0))
    assert drawn["a"] / drawn["b"] == pytest.approx(2 * 100 / 300, rel=0.1)


def test_no_row_is_drawn_again_before_its_source_is_through():
    drawn = [r for r in weighted_rows(some_rows(5, 7, weights=(1.0, 1.0)), 100, 0) if r.source == "a"]  # fmt: skip
    for i in range(0, len(drawn) - 5, 5):
        assert sorted(words_of(drawn[i : i + 5])) == ["0", "1", "2", "3", "4"]


def test_draws_repeat_under_their_seed_and_more_of_them_begin_alike():
    found = some_rows(50, 50, weights=(1.0, 3.0))
    few, many = weighted_rows(found, 20, seed=3), weighted_rows(found, 60, seed=3)
    assert many[:20] == few
    assert weighted_rows(found, 20, seed=4) != few


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "list.json", "a.parquet"])
def test_local_files_of_each_kind_give_the_same_rows(tmp_path, name):
    rows = [{"query": f"question {i}", "tools": "[]"} for i in range(5)]
    path = tmp_path / name
    if name == "list.json":
        path.write_text(json.dumps(rows, indent=2))
    elif name == "a.parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        written(path, rows)
    assert list(raw_rows(str(path), 0)) == rows
    assert list(raw_rows(str(path), 3)) == rows[:3]


def test_folder_gives_the_rows_of_its_files_in_order(tmp_path):
    written(tmp_path / "b.jsonl", [{"n": 2}])
    written(tmp_path / "a.jsonl.gz", [{"n": 1}])
    (tmp_path / "README.md").write_text("not rows")
    assert list(raw_rows(str(tmp_path), 0)) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("name", "arguments", "split"),
    [
        ("nvidia/When2Call:train_sft", ("nvidia/When2Call", "train_sft"), "train"),
        ("nvidia/When2Call:test@mcq", ("nvidia/When2Call", "test"), "mcq"),
        ("ibm-research/nestful", ("ibm-research/nestful", None), "train"),
    ],
)
def test_hub_name_says_its_configuration_and_split(monkeypatch, name, arguments, split):
    def load_dataset(*args, **options):
        assert args == arguments
        assert options == {"split": split, "streaming": True}
        return iter([{"n": 1}, {"n": 2}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(raw_rows(name, 1)) == [{"n": 1}]


def test_what_the_hub_raises_names_the_source(monkeypatch):
    def load_dataset(*args, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(SourceError, match=r"^owner/name: `datasets` cannot read it: no network"):
        list(raw_rows("owner/name", 0))


def test_missing_datasets_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SourceError, match=r"pip install 'smoldiff\[train\]'"):
        list(raw_rows("owner/name", 0))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "an empty path"),
        ("no/such/place", "no such file or folder, and no hub name"),
        ("data/train.jsonl", "no such file or folder, and no hub name"),
    ],
)
def test_path_to_nothing_says_what_a_path_may_be(path, message):
    with pytest.raises(SourceError, match=message):
        list(raw_rows(path, 0))


def test_missing_file_names_the_key_it_stands_under(dev, tmp_path):
    missing = str(tmp_path / "none.jsonl")
    with pytest.raises(SourceError, match=r"^data\.sources\[0\]: .*none\.jsonl: no such file"):
        loaded(dev, SourceConfig("smoldiff", missing))
    with pytest.raises(SourceError, match=r"^data\.dev: .*none\.jsonl: no such file"):
        loaded(missing, SourceConfig("smoldiff", dev))


def test_file_and_folder_without_rows_say_which_files_have_them(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SourceError, match=r"no file with rows in it \(\.jsonl"):
        list(raw_rows(str(tmp_path), 0))
    with pytest.raises(SourceError, match=r"not a file of rows; use one of \.jsonl"):
        list(raw_rows(str(tmp_path / "a.txt"), 0))


def test_list_that_is_cut_off_names_its_file(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": 1},')
    with pytest.raises(SourceError, match=r"a\.json: not a JSON list"):
        list(raw_rows(str(tmp_path / "a.json"), 0))
