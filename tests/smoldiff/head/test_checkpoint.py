"""A head on disk and on the hub: what is written comes back, and what does not fit is a clear error."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from fakes import byte_tokenizer
from heads import LAYOUTS, new_head, shaken_head, small_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from smoldiff.decode.model import Model
from smoldiff.errors import HeadMismatch, ModelError, ModelNotFound
from smoldiff.head.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from smoldiff.head.model import DiffusionHead


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def head(model):
    return shaken_head(model)


@pytest.fixture
def folder(head, tmp_path):
    head.save_pretrained(tmp_path)
    return tmp_path


def test_what_is_saved_comes_back(head, tmp_path):
    head.save_pretrained(tmp_path / "deep" / "head", dtype=torch.float32)
    again = DiffusionHead.from_pretrained(str(tmp_path / "deep" / "head"))
    assert again.config == head.config
    assert not again.training
    for (name, one), (other, two) in zip(
        head.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(one, two)


def test_half_as_many_bytes_are_written_by_default(head, folder):
    stored = load_file(folder / WEIGHTS_FILE)
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    again = DiffusionHead.from_pretrained(str(folder))
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, head.state_dict()[name].bfloat16().float())


def test_a_folder_holds_two_files_and_no_pickle(folder):
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    stored = load_file(folder / WEIGHTS_FILE)  # which reads safetensors and nothing else
    assert not any("embed" in name or "lm_head" in name for name in stored)


def test_the_configuration_names_the_base(folder):
    base = json.loads((folder / CONFIG_FILE).read_text())["base"]
    assert set(base) >= {"name", "revision", "tokenizer_hash", "template_style", "num_layers"}
    assert re.fullmatch("[0-9a-f]{64}", base["tokenizer_hash"])


def test_a_second_save_replaces_the_first(model, folder):
    other = shaken_head(model, seed=9, has_copy=False)
    other.save_pretrained(folder)
    assert DiffusionHead.from_pretrained(str(folder)).config == other.config


def test_a_save_that_fails_leaves_what_was_there(head, folder, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    before = (folder / WEIGHTS_FILE).read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        head.save_pretrained(folder)
    assert (folder / WEIGHTS_FILE).read_bytes() == before
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("text", [None, "", "{", '{"format": 1', "\x00"], ids=str)
def test_a_folder_without_a_configuration_is_no_head(folder, text):
    (folder / CONFIG_FILE).unlink() if text is None else (folder / CONFIG_FILE).write_text(text)
    with pytest.raises(ModelNotFound, match=CONFIG_FILE):
        DiffusionHead.from_pretrained(str(folder))


def test_another_format_is_a_clear_error(folder):
    raw = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**raw, "format": 99}))
    with pytest.raises(ModelError, match="format is 99"):
        DiffusionHead.from_pretrained(str(folder))


def test_missing_weights_are_a_clear_error(folder):
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=WEIGHTS_FILE):
        DiffusionHead.from_pretrained(str(folder))


@pytest.mark.parametrize("num_kept", [0, 5, 300, -1])
def test_truncated_weights_are_a_clear_error(folder, num_kept):
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(data[:num_kept])
    with pytest.raises(ModelError, match=WEIGHTS_FILE):
        DiffusionHead.from_pretrained(str(folder))


def test_a_pickle_is_never_read(folder):
    torch.save({"mask": torch.zeros(3)}, folder / WEIGHTS_FILE)
    with pytest.raises(ModelError, match=WEIGHTS_FILE):
        DiffusionHead.from_pretrained(str(folder))


@pytest.mark.parametrize(
    ("change", "tensor"),
    [
        ({"intermediate_size": 80}, "gate_proj"),
        ({"num_layers": 3}, "layers.2"),
        ({"has_copy": False}, "copy_"),
    ],
    ids=str,
)
def test_weights_of_another_shape_name_what_does_not_fit(folder, change, tensor):
    raw = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**raw, **change}))
    with pytest.raises(ModelError, match=f"does not fit {CONFIG_FILE}: .*{tensor}"):
        DiffusionHead.from_pretrained(str(folder))


def test_a_missing_tensor_is_named(folder):
    state = load_file(folder / WEIGHTS_FILE)
    del state["mask"]
    save_file(state, folder / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="mask"):
        DiffusionHead.from_pretrained(str(folder))


def of_config(change, tokenizer=None):
    config = LAYOUTS["smollm3"].__class__(**{**LAYOUTS["smollm3"].to_dict(), **change})
    network = AutoModelForCausalLM.from_config(config).eval()
    return Model.of(network, tokenizer or byte_tokenizer())


def styled_tokenizer():
    """The same tokens in a chat template that writes calls in another way."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace('"arguments"', '"parameters"')
    return tokenizer


MISMATCHES = {
    "hidden_size": lambda: of_config({"hidden_size": 48}),
    "vocab_size": lambda: of_config({"vocab_size": 320}),
    "num_layers": lambda: of_config(
        {"num_hidden_layers": 5, "no_rope_layers": None, "layer_types": None}
    ),
    "architecture": lambda: small_model("llama"),
    "tokenizer_hash": lambda: small_model(tokenizer=byte_tokenizer([("a", "b")])),
    "template_style": lambda: small_model(tokenizer=styled_tokenizer()),
}


@pytest.mark.parametrize("field", MISMATCHES)
def test_a_head_of_another_base_says_what_differs_and_what_to_do(head, field):
    other = MISMATCHES[field]()
    with pytest.raises(HeadMismatch, match=rf"\({field} .*smoldiff train") as caught:
        other.with_head(head)
    assert caught.value.field == field


def test_a_head_of_the_same_base_is_taken(model, folder):
    again = small_model(seed=1).with_head(DiffusionHead.from_pretrained(str(folder)))
    assert again.head is not None


def test_a_head_is_downloaded_by_name_and_revision(head, folder, monkeypatch):
    asked = []

    def download(name, *, revision, allow_patterns):
        asked.append((name, revision, sorted(allow_patterns)))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = DiffusionHead.from_pretrained("someone/some-head", revision="v2")
    assert found.config == head.config
    assert asked == [("someone/some-head", "v2", [CONFIG_FILE, WEIGHTS_FILE])]


def test_a_repository_without_a_head_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_a, **_k: str(tmp_path))
    with pytest.raises(ModelNotFound, match="no head in 'someone/some-model'"):
        DiffusionHead.from_pretrained("someone/some-model")


def test_a_failed_download_is_a_clear_error(monkeypatch):
    def fail(*_args, **_kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelNotFound, match="'someone/some-head': no network"):
        DiffusionHead.from_pretrained("someone/some-head")


def test_what_can_be_no_name_is_a_clear_error():
    with pytest.raises(ModelNotFound, match="could not load a head"):
        DiffusionHead.from_pretrained("no/such/folder/here")


class Hub:
    """A stand-in for the Hugging Face API: it keeps what it is sent."""

    def __init__(self, token=None):
        self.token = token
        Hub.last = self

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        self.repo = (repo_id, private)

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.message = commit_message
        self.sent = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")


def test_a_head_is_uploaded_as_it_is_saved(head, folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    address = head.push_to_hub("someone/some-head", private=True, token="secret")
    assert address == "https://hub/someone/some-head/commit/1"
    assert Hub.last.repo == ("someone/some-head", True)
    assert Hub.last.token == "secret"
    assert Hub.last.sent == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_base_from_a_folder_is_named_without_the_way_there(tmp_path):
    found = small_model()
    named = Model(found.base, found.tokenizer, str(tmp_path))
    assert new_head(named).config.base.name == tmp_path.name
