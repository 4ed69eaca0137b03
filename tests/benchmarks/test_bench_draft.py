"""The benchmark of one draft, end to end on tiny shapes."""

import json

import bench_draft
import pytest


def test_a_draft_is_timed_part_by_part_and_as_a_whole(tmp_path):
    out = tmp_path / "rows.jsonl"
    bench_draft.main(["--device", "cpu", "--quick", "--out", str(out)])
    rows = {row["part"]: row for row in map(json.loads, out.read_text().splitlines())}
    parts = ["head pass", "scoring", "slot decoding"]
    assert list(rows) == [*parts, "draft", "decisions", "tokens taken in"]
    draft = rows.pop("draft")
    assert draft["slots_equal_at_first"] == 1.0
    assert draft["wall_ms"] > 0
    assert draft["target_ms"] == bench_draft.TARGET_MS
    assert draft["bytes"] == sum(rows[part]["bytes"] for part in parts)
    assert all(row["eager_ms"] > row["floor_ms"] > 0 for row in rows.values())


def test_a_draft_that_differs_is_not_timed(monkeypatch):
    monkeypatch.setattr(bench_draft, "agreement", lambda case: 0.25)
    with pytest.raises(SystemExit, match="25%"):
        bench_draft.main(["--device", "cpu", "--quick"])
