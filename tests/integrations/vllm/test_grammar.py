"""A draft's masks from one call are vLLM's own; a wrong token is excluded where it stands, and nothing is masked behind it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")

from vllm.v1.outputs import DraftTokenIds
from vllm.v1.structured_output import StructuredOutputManager
from vllm.v1.structured_output.backend_types import StructuredOutputOptions
from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

from smoldiff.decode.model import load_tokenizer
from smoldiff_integrations.vllm import grammar
from smoldiff_integrations.vllm.scheduler import DraftScheduler

NUM_DRAFTED = 48
TOKENIZER = load_tokenizer()
STOP = TOKENIZER.eos_token_id
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TAG = {
    "type": "structural_tag",
    "format": {
        "type": "triggered_tags",
        "triggers": ["<call>"],
        "tags": [
            {
                "begin": "<call>",
                "content": {"type": "json_schema", "json_schema": SCHEMA},
                "end": "</call>",
            }
        ],
    },
}
ANSWER = '{"city": "Oslo", "days": 3}'
PLACE = 1
"""Of a token of ANSWER that stands outside of strings."""


def ids_of(text):
    return TOKENIZER.encode(text, add_special_tokens=False)


def make_manager():
    """vLLM's own, of a server with drafts."""
    config = SimpleNamespace(
        parallel_config=SimpleNamespace(distributed_executor_backend="uni"),
        scheduler_config=SimpleNamespace(max_num_seqs=4),
        model_config=SimpleNamespace(
            skip_tokenizer_init=True,
            is_diffusion=False,
            hf_config=SimpleNamespace(model_type="llama"),
        ),
        structured_outputs_config=SimpleNamespace(
            enable_in_reasoning=False, disable_any_whitespace=False
        ),
        speculative_config=SimpleNamespace(num_speculative_tokens=NUM_DRAFTED),
        num_speculative_tokens=NUM_DRAFTED,
    )
    manager = StructuredOutputManager(config)
    manager.backend = XgrammarBackend(config, TOKENIZER, len(TOKENIZER))
    return manager


@pytest.fixture
def managers():
    """Ours and vLLM's own, both with masks full of what others left."""
    ours, own = make_manager(), make_manager()
    assert grammar.follow(ours)
    for one in (ours, own):
        one._grammar_bitmask = one.backend.allocate_token_bitmask(4 * (1 + NUM_DRAFTED)).fill_(77)
    return ours, own


class Request:
    """vLLM's Request, as far as it is used."""

    is_prefill_chunk = False
    use_structured_output = True

    def __init__(self, made, before=""):
        self.structured_output_request = SimpleNamespace(grammar=made, reasoning_ended=None)
        self.spec_token_ids = []
        self.made = made
        if before:
            assert made.accept_tokens("", ids_of(before))

    def is_finished(self):
        return False


def with_schema(manager, before=""):
    made = manager.backend.compile_grammar(StructuredOutputOptions.JSON, json.dumps(SCHEMA))
    return Request(made, before)


def with_tag(manager, before=""):
    made = manager.backend.compile_grammar(StructuredOutputOptions.STRUCTURAL_TAG, json.dumps(TAG))
    return Request(made, before)


def masks_of(manager, requests, drafts):
    return manager.grammar_bitmask(requests, list(requests), drafts).copy()


def state_of(request):
    made = request.made
    now = made.matcher._debug_print_internal_state()
    return made.num_processed_tokens, made.is_terminated(), now


@pytest.mark.parametrize("end", [[], [STOP]], ids=["within", "to its end"])
def test_masks_of_right_drafts_are_vllms_own(managers, monkeypatch, end):
    drafts = {
        "json": ids_of(ANSWER) + end,
        "tag": ids_of(f"lookup <call>{ANSWER}</call> and") + end,
        "later": ids_of('slo", "days": 3}') + end,
    }
    found = []
    for manager in managers:
        requests = {
            "json": with_schema(manager),
            "none": with_schema(manager, '{"city": '),
            "tag": with_tag(manager),
            "later": with_schema(manager, '{"city": "O'),
        }
        before = {name: state_of(one) for name, one in requests.items()}
        if manager is managers[0]:  # it must not be vLLM's way that fills them
            monkeypatch.setattr(type(manager.backend), "allocate_token_bitmask", None)
            for one in requests.values():
                monkeypatch.setattr(one.made, "accept_tokens", None)
        found.append(masks_of(manager, requests, drafts))
        assert {name: state_of(one) for name, one in requests.items()} == before
    assert len(found[0]) == 4 + sum(map(len, drafts.values()))
    assert np.array_equal(*found)


@pytest.mark.parametrize("wrong", [STOP, ids_of(":")[0], len(TOKENIZER) + 5])
@pytest.mark.parametrize("at", [0, PLACE, -1])
def test_a_wrong_token_is_excluded_at_its_place_and_all_is_open_behind(managers, wrong, at):
    ours, own = managers
    right = ids_of(ANSWER)
    at %= len(right)
    draft = [*right[:at], wrong, *right[at + 1 :]]
    request = with_schema(ours)
    before = state_of(request)
    found = masks_of(ours, {"a": request}, {"a": draft})
    known = masks_of(own, {"a": with_schema(own)}, {"a": right[:at]})
    assert np.array_equal(found[: at + 1], known)
    assert (found[at + 1 :] == -1).all()
    assert len(found) == 1 + len(draft)
    assert state_of(request) == before


def test_with_padding_in_a_step_vllms_own_way_fills_it_with_right_drafts(managers):
    ours, own = managers
    right = ids_of(ANSWER)
    wrong = [*right[:PLACE], right[0], *right[PLACE + 1 :]]
    found = masks_of(
        ours,
        {"a": with_schema(ours), "b": with_schema(ours)},
        {"a": wrong, "b": [*right[:2], -1]},
    )
    known = masks_of(own, {"a": with_schema(own)}, {"a": right[:2]})
    assert np.array_equal(found[: PLACE + 1], known[: PLACE + 1])
    assert (found[PLACE + 1 : len(wrong)] == -1).all()
    assert np.array_equal(found[1 + len(wrong) :][:3], known[:3])


class Taking(DraftScheduler):
    """A scheduler that is asked for nothing but to take drafts."""

    def __init__(self, manager, requests, fills_drafts):
        self.structured_output_manager, self.requests = manager, requests
        self.is_ahead, self._fills_drafts = False, fills_drafts


def spread(manager, fills_drafts):
    """What requests get of a right draft, one with a wrong token, one beyond its end, and one that is padded."""
    right = ids_of(ANSWER)
    wrong = [*right[:PLACE], right[0], *right[PLACE + 1 :]]
    drafts = {"right": right, "wrong": wrong, "beyond": [*right, STOP, 5], "padded": [*right, -1]}
    requests = {name: with_schema(manager) for name in drafts}
    requests["done"] = with_schema(manager, ANSWER)
    requests["done"].made.accept_tokens("", [STOP])
    requests["text"] = SimpleNamespace(
        structured_output_request=None,
        use_structured_output=False,
        is_prefill_chunk=False,
        is_finished=lambda: False,
    )
    drafts.update(done=right, text=[5, 6], gone=[5])
    scheduler = Taking(manager, requests, fills_drafts)
    scheduler.update_draft_token_ids(DraftTokenIds(list(drafts), list(drafts.values())))
    return {name: one.spec_token_ids for name, one in requests.items()}, wrong


def test_a_draft_is_taken_as_it_is_up_to_its_end(managers):
    ours, own = managers
    (found, wrong), (known, _) = spread(ours, True), spread(own, False)
    assert known["wrong"] == wrong[:PLACE]
    assert found == {**known, "wrong": wrong}


def test_a_reasoner_leaves_all_to_vllm():
    manager = make_manager()
    manager.reasoner_cls = object
    assert not grammar.follow(manager)
    assert "grammar_bitmask" not in vars(manager)


def test_a_vllm_with_another_part_keeps_its_way(monkeypatch):
    monkeypatch.setattr(StructuredOutputManager, "_fill_bitmasks", lambda self, batch, more: None)
    assert not grammar.follow(make_manager())
