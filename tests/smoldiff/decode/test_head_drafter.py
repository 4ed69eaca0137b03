import pytest
import torch

import smoldiff
from smoldiff.decode import denoise
from smoldiff.decode.graphed import Drafts
from smoldiff.decode.pace import Pace
from smoldiff.head.model import DiffusionHead
from smoldiff.head.projected import can_be_projected

TOOLS = [
    {
        "name": "book_table",
        "description": "Reserve a table at a restaurant",
        "parameters": {
            "type": "object",
            "properties": {
                "restaurant": {"type": "string"},
                "city": {"type": "string"},
                "people": {"type": "integer", "minimum": 1, "maximum": 12},
                "seating": {"type": "string", "enum": ["indoor", "outdoor"]},
                "dishes": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
            },
            "required": ["restaurant", "city"],
        },
    },
    {
        "name": "play_song",
        "description": "Play a song",
        "parameters": {
            "type": "object",
            "properties": {"title": {"type": "string"}, "shuffle": {"type": "boolean"}},
            "required": ["title"],
        },
    },
]
QUESTIONS = [
    "Book a table for two at Nopa in San Francisco, outdoor please",
    "Play Yellow Submarine on shuffle",
    "Book Zuni in Oakland for 4 people and also play Bohemian Rhapsody",
]


@pytest.fixture(scope="module")
def plain():
    return smoldiff.load("smoldiff-nano", device="cpu", head="none")


@pytest.fixture(scope="module")
def headed(plain):
    """A head that knows nothing: all its parts are drawn, also those that start at zero."""
    torch.manual_seed(0)
    head = DiffusionHead.for_base(plain, num_layers=1)
    for parameter in head.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.05)
    return plain.with_head(head)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("drafter", ["diffusion", "diffusion+copy"])
def test_verified_is_plain_decoding_whatever_the_head_drafts(plain, headed, question, drafter):
    expected = smoldiff.generate_call(plain, TOOLS, question, mode="ar")
    found = smoldiff.generate_call(headed, TOOLS, question, drafter=drafter)
    assert found.token_ids == expected.token_ids
    assert found.stats.head_passes
    assert found.stats.base_passes <= expected.stats.base_passes


def test_the_head_is_the_default_drafter_of_a_model_that_has_one(headed):
    assert smoldiff.generate_call(headed, TOOLS, QUESTIONS[0]).stats.head_passes


def test_a_batch_is_its_conversations_one_by_one(headed):
    together = smoldiff.generate_calls(headed, TOOLS, QUESTIONS)
    alone = [smoldiff.generate_call(headed, TOOLS, question) for question in QUESTIONS]
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]


def test_while_the_head_rests_what_is_certain_is_drafted(plain, headed, monkeypatch):
    monkeypatch.setattr(
        "smoldiff.decode.head_drafter.Pace", lambda: Pace(num_resting=1 << 30, limit_at_rest=8)
    )
    one_by_one = smoldiff.generate_call(plain, TOOLS, QUESTIONS[0], mode="ar")
    resting = smoldiff.generate_call(headed, TOOLS, QUESTIONS[0])
    assert resting.token_ids == one_by_one.token_ids
    assert resting.stats.head_passes == 0
    assert resting.stats.base_passes < one_by_one.stats.base_passes / 2


def test_sampling_draws_what_plain_decoding_draws(plain, headed):
    options = {"temperature": 1.0, "seed": 3}
    expected = smoldiff.generate_call(plain, TOOLS, QUESTIONS[0], mode="ar", **options)
    found = smoldiff.generate_call(headed, TOOLS, QUESTIONS[0], **options)
    assert found.token_ids == expected.token_ids


@pytest.mark.parametrize("question", ["Hello, who are you?", QUESTIONS[1]])
def test_a_choice_between_text_and_calls_is_the_bases_own(plain, headed, question):
    options = {"tool_choice": "auto", "max_tokens": 60}
    expected = smoldiff.generate_call(plain, TOOLS, question, mode="ar", **options)
    found = smoldiff.generate_call(headed, TOOLS, question, **options)
    assert found.text == expected.text


def test_given_arguments_stand_in_verified_and_diffusion(headed):
    for mode in ("verified", "diffusion"):
        call = smoldiff.generate_call(
            headed,
            TOOLS,
            QUESTIONS[0],
            mode=mode,
            tool_choice="book_table",
            given={"/city": "Oslo"},
        )
        assert call.arguments["city"] == "Oslo"


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("question", QUESTIONS)
def test_diffusion_takes_a_pass_a_step(headed, question, steps):
    call = smoldiff.generate_call(headed, TOOLS, question, mode="diffusion", steps=steps)
    assert call.stats.base_passes < steps
    assert call.name in ("book_table", "play_song")


@pytest.mark.parametrize("question", QUESTIONS)
def test_with_steps_enough_diffusion_is_the_bases_own_answer(plain, headed, question):
    expected = smoldiff.generate_call(plain, TOOLS, question, mode="ar")
    options = {"mode": "diffusion", "steps": 1 + expected.stats.base_passes}
    assert (
        smoldiff.generate_call(headed, TOOLS, question, **options).token_ids == expected.token_ids
    )


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_step_keeps_what_the_base_has_written(plain, headed, question):
    expected = smoldiff.generate_call(plain, TOOLS, question, mode="ar").token_ids
    for steps in range(1, 6):
        found = smoldiff.generate_call(headed, TOOLS, question, mode="diffusion", steps=steps)
        assert found.token_ids[:steps] == expected[:steps]


@pytest.mark.parametrize("denoise_steps", [1, 4])
@pytest.mark.parametrize("mode", ["verified", "diffusion"])
def test_denoise_steps_are_passes_of_the_head(headed, mode, denoise_steps):
    options = {"mode": mode, "denoise_steps": denoise_steps}
    call = smoldiff.generate_call(headed, TOOLS, QUESTIONS[0], **options)
    assert call.stats.head_passes >= denoise_steps


def test_a_bare_schema_is_filled(headed):
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4}
    for mode in ("verified", "diffusion"):
        call = smoldiff.generate_call(headed, schema, "one two three", mode=mode)
        assert 2 <= len(call.arguments) <= 4


def test_the_head_of_another_base_is_refused(plain, headed):
    other = DiffusionHead(headed.head.config)
    object.__setattr__(other.config.base, "num_layers", 3)
    with pytest.raises(smoldiff.ModelError, match="num_layers 3"):
        plain.with_head(other)


@pytest.mark.parametrize("question", QUESTIONS[:2])
def test_what_a_gpu_would_run_drafts_the_same(question, monkeypatch):
    """Memory in one tensor, decisions and slots in the drafts' own tensors, here without graphs."""
    model = smoldiff.load("smoldiff-nano", device="cpu")
    drawn, decided = [], []
    for log, method in ((drawn, "fill"), (decided, "decide")):
        own = getattr(Drafts, method)

        def logged(*args, log=log, own=own):
            log.append(own(*args))
            return log[-1]

        monkeypatch.setattr(Drafts, method, logged)
    expected = smoldiff.generate_call(model, TOOLS, question)
    assert not drawn
    monkeypatch.setattr(denoise, "serves", lambda head, _: can_be_projected(head.config))
    result = smoldiff.generate_call(model, TOOLS, question)
    assert decided
    assert drawn
    assert None not in drawn
    assert result.text == expected.text
    assert result.stats.base_passes == expected.stats.base_passes
    assert result.stats.accepted == expected.stats.accepted
