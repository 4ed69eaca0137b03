"""The speed of head training, end to end on a tiny shape: one process, then two that talk through gloo."""

import json
from random import Random

import bench_train
import pytest
from scaling.made import batch
from scaling.process import check
from scaling.shapes import SHAPES

FAST = ["--shape", "tiny", "--device", "cpu", "--batch", "2", "--steps", "2", "--warm-up", "1"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "rows.jsonl"
    bench_train.main(["--gpus", "2,1", *FAST, "--accumulation", "2", "--out", str(out)])
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.slow
def test_one_process_comes_first_and_each_row_is_held_against_it(rows):
    found = [(row["gpus"], row["optimizer"]) for row in rows]
    assert found == [(1, "muon"), (1, "adamw"), (2, "muon"), (2, "adamw")]
    for alone, two in zip(rows[:2], rows[2:], strict=True):
        assert alone["efficiency"] == 1.0
        assert two["efficiency"] == two["tokens_per_s"] / (2 * alone["tokens_per_s"])


@pytest.mark.slow
def test_a_row_counts_what_was_fed_and_what_was_sent(rows):
    shape = SHAPES["tiny"]
    for row in rows:
        queries_a_step = row["positions_per_s"] * row["wall_ms"] / 1e3
        assert queries_a_step == pytest.approx(row["gpus"] * 2 * 2 * shape.num_queries)
        assert 0 < row["step_p10_ms"] <= row["step_ms"] <= row["step_p90_ms"]
        assert 0 < row["base_ms"] < row["step_ms"]
        assert row["peak_bytes"] > row["num_head_parameters"] > 0
        # A ring of two: each process sends half of the gradients twice.
        is_alone = row["gpus"] == 1
        assert row["reduced_bytes"] == (0 if is_alone else 4 * row["num_head_parameters"])
        has_shared = row["optimizer"] == "muon" and not is_alone
        assert (row["gathered_bytes"] > 0) == has_shared


def test_batches_have_the_shape_that_is_said():
    shape = SHAPES["smollm3-3b"]
    one = batch(shape, 2, Random(0))
    assert ((one["block_BQ"] > 0).sum(1) == shape.num_queries).all()
    assert (one["lengths_B"] - one["prompts_B"] == shape.fed_tokens).all()
    assert (abs(one["prompts_B"] - shape.prompt_tokens) <= 0.05 * shape.prompt_tokens + 1).all()
    assert (one["anchor_BQ"] < one["lengths_B"][:, None]).all()
    assert len(one["implicit_G"]) == 2 * (shape.num_keys + shape.num_branches)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((float("nan"), 1.0, 1.0, 2.0), "the loss is nan"),
        ((1.0, float("inf"), 1.0, 2.0), "the gradient's norm inf"),
        ((1.0, 1.0, 2.0, 2.0), "the head did not move"),
    ],
)
def test_a_training_that_is_not_right_is_not_timed(numbers, said):
    with pytest.raises(RuntimeError, match=said):
        check(*numbers)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--gpus", "0"],
        ["--gpus", "999", "--device", "cuda"],
        ["--optimizers", "sgd"],
        ["--steps", "1"],
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(wrong, capsys):
    with pytest.raises(SystemExit):
        bench_train.main([*FAST, *wrong])
    assert wrong[0] in capsys.readouterr().err
