"""A request's drafts, verified against an answer that is known."""

from types import SimpleNamespace

import pytest
import torch

from smoldiff.decode.draft import num_common
from smoldiff.decode.drafters import NUM_CANDIDATES, parse_drafter
from smoldiff.decode.model import load_tokenizer
from smoldiff.scaffold.style import COMPACT, SPACED
from smoldiff.template.vocabulary import Vocabulary
from smoldiff_integrations.vllm.candidates import Ranking
from smoldiff_integrations.vllm.drafting import RequestDrafts
from smoldiff_integrations.vllm.schema import constraint_of

SCHEMA = {
    "type": "object",
    "properties": {
        "restaurant": {"type": "string"},
        "city": {"type": "string"},
        "people": {"type": "integer"},
        "seating": {"enum": ["indoor", "outdoor"]},
    },
    "required": ["restaurant", "city", "people", "seating"],
    "additionalProperties": False,
}
VALUE = {"restaurant": "Nopa Grill", "city": "San Francisco", "people": 4, "seating": "outdoor"}
PROMPT = "Four people at Nopa Grill in San Francisco, outdoor"


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.of(load_tokenizer())


def drafts_for(vocabulary, drafter, styles=(SPACED, COMPACT)):
    given = SimpleNamespace(json=SCHEMA, structural_tag=None)
    constraint = constraint_of(given, styles, vocabulary)
    return RequestDrafts(constraint, vocabulary, parse_drafter(drafter), vocabulary.encode(PROMPT))


def candidates_of(drafted, logits_TV):
    return Ranking(logits_TV, drafted, NUM_CANDIDATES).of(0, len(drafted))


def num_passes(vocabulary, drafts, text, eos_id=2):
    """Passes until `text` is written by a model that says nothing else, as vLLM would verify it."""
    answer = [*vocabulary.encode(text), eos_id]
    written, passes = answer[:1], 1
    while written[-1] != eos_id:
        drafted = drafts.propose(written, 64, eos_id)
        passes += 1
        rest = answer[len(written) :]
        num_right = num_common(drafted, rest)
        new = rest[: num_right + 1]
        said = torch.zeros(len(drafted), len(vocabulary))
        # Behind the first error the model says what fits its own answer: one token further each time.
        for t in range(len(drafted)):
            said[t, rest[min(t, len(rest) - 1)]] = 1.0
        drafts.learn(drafted, len(new) - 1, candidates_of(drafted, said))
        written = written + new
    assert written == answer
    return passes


@pytest.mark.parametrize("style", [SPACED, COMPACT], ids=["spaced", "compact"])
@pytest.mark.parametrize(("drafter", "share"), [("scaffold", 0.7), ("scaffold+copy", 0.5)])
def test_structure_is_drafted_in_the_style_that_the_model_writes(vocabulary, drafter, share, style):
    text = style.dumps(VALUE)
    passes = num_passes(vocabulary, drafts_for(vocabulary, drafter), text)
    assert passes < share * len(vocabulary.encode(text))


def test_other_styles_are_not_tried_where_the_server_allows_one(vocabulary):
    text = COMPACT.dumps(VALUE)
    fixed = num_passes(vocabulary, drafts_for(vocabulary, "scaffold", (SPACED,)), text)
    free = num_passes(vocabulary, drafts_for(vocabulary, "scaffold"), text)
    assert free < fixed


def test_the_end_of_the_answer_is_drafted_behind_a_whole_one_only(vocabulary):
    drafts = drafts_for(vocabulary, "scaffold")
    last = vocabulary.encode(SPACED.dumps(VALUE).removesuffix('door"}'))
    assert drafts.propose(last, 64, 2)[-1] == 2
    assert 2 not in drafts.propose(last, 64, None)
    assert 2 not in drafts.propose(last[:1], 64, 2)


def test_a_draft_is_no_longer_than_there_is_room(vocabulary):
    drafts = drafts_for(vocabulary, "scaffold")
    start = vocabulary.encode('{"')
    assert len(drafts.propose(start, 64, 2)) > 2
    assert len(drafts.propose(start, 2, 2)) == 2
    assert drafts.propose(start, 0, 2) == []


def test_inside_a_character_nothing_is_drafted(vocabulary):
    half = vocabulary.encode('{"restaurant": "')
    broken = vocabulary.encode_bytes("ü".encode()[:1])
    assert drafts_for(vocabulary, "parallel+copy").propose(half + broken, 64, 2) == []


def test_a_pass_over_other_tokens_teaches_nothing(vocabulary):
    drafts = drafts_for(vocabulary, "parallel")
    drafted = drafts.propose(vocabulary.encode('{"'), 64, None)
    other = [0] * len(drafted)
    drafts.learn(other, 0, candidates_of(other, torch.zeros(len(other), len(vocabulary))))
    assert not drafts.drafter.guesses
