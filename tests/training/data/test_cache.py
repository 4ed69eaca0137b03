"""The cache: what goes in comes out, every change has a name of its own, and nothing half-written is ever read."""

import gzip
import json
import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from smoldiff_training.data import building
from smoldiff_training.data import cache as module
from smoldiff_training.data.building import build_targets
from smoldiff_training.data.cache import cached_targets, evaluation_targets, fingerprint, key_of
from smoldiff_training.data.draw import draw_rows
from smoldiff_training.data.rows import Row
from smoldiff_training.data.store import NoTargets, TargetStore
from smoldiff_training.data.targets import Target, TargetOptions

NANO = "smoldiff-nano"


def row(city: str) -> Row:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"name": "get_weather", "description": "Weather at a place", "parameters": parameters}
    said = [{"role": "user", "content": f"Weather in {city}, please"}]
    return Row("written here", [tool], said, [{"name": "get_weather", "arguments": {"city": city}}])


ROWS = [row("Oslo"), row("Łódź"), replace(row("Rome"), source="elsewhere")]


@pytest.fixture(scope="module")
def built():
    (made,) = build_targets(NANO, ROWS, device="cpu")
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return cached_targets(NANO, ROWS, tmp_path_factory.mktemp("cache"), device="cpu")


def assert_same(one: Target, other: Target) -> None:
    for name in ("prompt_ids", "answer_ids", "topk_ids", "topk_logp"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    for name in ("tools", "answer_text", "is_gold", "source"):
        assert getattr(one, name) == getattr(other, name)


def test_what_is_stored_comes_back(built, store):
    assert len(store) == len(built.targets) == len(ROWS)
    for one, other in zip(store, built.targets, strict=True):
        assert_same(one, other)
    assert store.num_tokens().tolist() == [
        len(t.prompt_ids) + len(t.answer_ids) for t in built.targets
    ]
    assert store.gold_share == np.mean([t.is_gold for t in built.targets])
    with pytest.raises(IndexError):
        store[len(ROWS)]


def test_equal_tools_are_stored_once(store):
    assert len((store.folder / "tools.jsonl").read_text().splitlines()) == 1


def test_a_pickled_store_opens_its_files_again(store):
    assert len(pickle.dumps(store)) < 1000
    assert_same(pickle.loads(pickle.dumps(store))[1], store[1])


def test_what_is_there_is_not_built_again(store, monkeypatch):
    monkeypatch.setattr(module, "build_targets", None)
    again = cached_targets(NANO, ROWS, store.folder.parent, device="cpu")
    assert again.folder == store.folder


def test_any_change_has_another_key():
    options = TargetOptions()
    keys = [
        key_of(NANO, rows, how, device)
        for rows, how, device in [
            (ROWS, options, "cpu"),
            (ROWS[:2], options, "cpu"),
            ([row("Oslo!"), *ROWS[1:]], options, "cpu"),
            (ROWS, replace(options, top_k=4), "cpu"),
            (ROWS, replace(options, max_tokens=100), "cpu"),
            (ROWS, options, "cuda"),
        ]
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(NANO, list(ROWS), replace(options, batch_rows=1), "cpu") == keys[0]


def test_another_base_has_another_fingerprint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = fingerprint(str(tmp_path))
    assert fingerprint(str(tmp_path)) == first
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert fingerprint(str(tmp_path)) != first


def test_a_crash_leaves_nothing_that_is_read(built, tmp_path, monkeypatch):
    def crash(*args, **options):
        yield built
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "build_targets", crash)
        with pytest.raises(KeyboardInterrupt):
            cached_targets(NANO, ROWS, tmp_path, device="cpu")
    folder = tmp_path / key_of(NANO, ROWS, TargetOptions(), "cpu")
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        TargetStore(folder.with_suffix(".part"))
    assert len(cached_targets(NANO, ROWS, tmp_path, device="cpu")) == len(ROWS)
    assert not folder.with_suffix(".part").exists()


def test_rows_that_make_no_target_are_said(tmp_path):
    with pytest.raises(NoTargets, match="'PromptTooLong': 3"):
        cached_targets(NANO, ROWS, tmp_path, TargetOptions(max_prompt_tokens=4), device="cpu")


def ask(cache: Path, barrier, built_by) -> None:
    torch.set_num_threads(1)
    barrier.wait()
    store = cached_targets(
        NANO, ROWS, cache, device="cpu", on_progress=lambda done, rows: built_by.put(done)
    )
    assert len(store) == len(ROWS)


@pytest.mark.slow
def test_two_processes_share_one_build(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, built_by = context.Barrier(2), context.Queue()
    processes = [context.Process(target=ask, args=(tmp_path, barrier, built_by)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert built_by.get(timeout=10) == len(ROWS)
    assert built_by.empty()


@pytest.mark.slow
def test_processes_make_the_same_targets_as_one(built, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS_ON_CPU", 2)
    seen = []
    made = list(
        build_targets(
            NANO, ROWS, num_processes=2, device="cpu", on_progress=lambda *at: seen.append(at)
        )
    )
    assert seen == [(2, 3), (3, 3)]
    together = [target for one in made for target in one.targets]
    for one, other in zip(together, built.targets, strict=True):
        assert one.answer_ids.tolist() == other.answer_ids.tolist()
        assert np.allclose(one.topk_logp, other.topk_logp, rtol=2e-3, atol=2e-3)


def test_an_evaluation_file_has_targets_too(tmp_path):
    file = tmp_path / "dev.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        for one in ROWS:
            raw = {k: getattr(one, k) for k in ("source", "tools", "messages", "calls")}
            lines.write(json.dumps(raw) + "\n")
    whole = evaluation_targets(NANO, file, tmp_path / "cache", device="cpu")
    part = evaluation_targets(NANO, file, tmp_path / "cache", num_rows=2, device="cpu")
    assert len(whole) == 3
    assert [t.answer_text for t in part] == [t.answer_text for t in whole][:2]


def test_drawn_rows_are_named_by_what_is_drawn():
    first = draw_rows(ROWS, 6, True, 0.0, "", seed=0)
    assert first.digest() == draw_rows(ROWS, 6, True, 0.0, "", seed=0).digest()
    assert first.digest() != draw_rows(ROWS, 6, True, 0.0, "", seed=1).digest()
    assert first.digest() != draw_rows(ROWS[:2], 6, True, 0.0, "", seed=0).digest()
