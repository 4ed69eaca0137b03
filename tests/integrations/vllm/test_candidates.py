"""What the model would have said is ranked where it would have said something else, of all drafts at once."""

import torch

from smoldiff_integrations.vllm.candidates import Ranking

LOGITS_RV = torch.tensor(
    [[0.0, 3.0, 1.0, 2.0], [9.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 1.0], [5.0, 4.0, 1.0, 2.0]]
)


def test_candidates_are_ranked_where_the_draft_is_not_the_best():
    ranking = Ranking(LOGITS_RV, [1, 1, None, 1], 3)
    first, second = ranking.of(0, 2), ranking.of(3, 4)
    assert [*first] == [(1,), [0, 3, 2]]
    assert (len(first), first[0], first[1:]) == (2, (1,), [[0, 3, 2]])
    assert [*second] == [[0, 1, 3]]


def test_the_device_is_asked_twice_and_of_right_drafts_once(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda self, read=torch.Tensor.tolist: asked.append(1) or read(self)
    )
    wrong = Ranking(LOGITS_RV, [1, 1, None, 1], 3)
    for first, stop in ((0, 2), (3, 4), (0, 2)):
        list(wrong.of(first, stop))
    assert len(asked) == 2
    right = Ranking(LOGITS_RV, [1, 0, None, 0], 3)
    assert [*right.of(0, 2), *right.of(3, 4)] == [(1,), (0,), (0,)]
    assert len(asked) == 3
