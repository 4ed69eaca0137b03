import json

import bench_ablation
import pytest

from smoldiff.decode.model import load
from smoldiff.head.model import DiffusionHead


def test_heads_stand_beside_each_other_and_beside_none(data, head_folder, tmp_path, capsys):
    model = load(device="cpu", head="none")
    bare, out = tmp_path / "bare", tmp_path / "rows.jsonl"
    DiffusionHead.for_base(model, num_layers=1, has_copy=False, has_markov=False).save_pretrained(
        bare
    )
    bench_ablation.main(
        f"--data {data} --limit 1 --heads full={head_folder},bare={bare} --warm-up 0 "
        f"--max-tokens 64 --width 150 --out {out}".split()
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["name"] for row in rows] == ["no head", "full", "bare"]
    assert [row["without"] for row in rows] == [[], [], ["has_copy", "has_markov"]]
    assert rows[0]["head"] is None
    assert rows[1]["head"] != rows[2]["head"]
    assert all(row["accepted_per_draft"] > 0 for row in rows)
    assert str(tmp_path) not in out.read_text()
    assert "right tokens a draft" in capsys.readouterr().err


@pytest.mark.parametrize("heads", ["", "full", "full=", "=folder", "a=x,b", "a=x,a=y", "no head=x"])
def test_heads_are_names_with_folders(data, heads, capsys):
    with pytest.raises(SystemExit):
        bench_ablation.main(["--data", str(data), "--heads", heads])
    assert "invalid named_folders value" in capsys.readouterr().err
