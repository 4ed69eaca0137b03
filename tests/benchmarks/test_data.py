import gzip
import json

import pytest
from calls.data import read_example, read_examples, sample

ROW = {"id": "a", "source": "S", "tools": [], "messages": [], "calls": []}


def write_rows(path, num_rows):
    text = "".join(json.dumps({**ROW, "id": str(i)}) + "\n" for i in range(num_rows))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_plain_and_gzipped_files_read_the_same(tmp_path, name):
    examples = read_examples(write_rows(tmp_path / name, 3))
    assert [e.id for e in examples] == ["0", "1", "2"]


def test_missing_keys_are_named():
    with pytest.raises(ValueError, match="lacks tools, calls"):
        read_example({"id": "a", "source": "S", "messages": []})


def test_a_broken_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n{broken\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3"):
        read_examples(path)


def test_accept_and_meta_may_be_missing():
    example = read_example(ROW)
    assert example.accept is None
    assert example.meta == {}


def test_a_sample_depends_on_the_seed_only_and_starts_a_larger_one(tmp_path):
    examples = read_examples(write_rows(tmp_path / "rows.jsonl", 50))
    small, large = sample(examples, 5, seed=0), sample(examples, 20, seed=0)
    assert small == large[:5]
    assert small != examples[:5]
    assert small != sample(examples, 5, seed=1)
    assert len(sample(examples, None, seed=0)) == 50
