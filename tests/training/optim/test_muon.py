"""Muon is torch's, in batches; what has no gradient stays; states are saved whole."""

import io

import pytest
import torch

from smoldiff_training.optim.muon import Muon
from smoldiff_training.optim.optimizers import Optimizers
from smoldiff_training.optim.orthogonal import orthogonal_each
from smoldiff_training.optim.sharing import owners

SHAPES = ((16, 8), (8, 24), (16, 8), (1, 8), (8, 1), (24, 24))


def some_matrices() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s)) for s in SHAPES]


def give_gradients(params, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)


def test_batched_muon_is_torch_muon():
    mine, theirs = some_matrices(), some_matrices()
    muon = Muon(mine, lr=0.02, weight_decay=0.1)
    torch_muon = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    before = [p.detach().clone() for p in mine]
    for step in range(3):
        give_gradients(mine, step)
        give_gradients(theirs, step)
        muon.step()
        torch_muon.step()
    for p, q, start in zip(mine, theirs, before, strict=True):
        # torch's own iterates in bfloat16, which costs less than a thirtieth of what the weights move
        assert (p - q).norm() < 0.03 * (q - start).norm()


def test_batches_change_nothing_beyond_rounding():
    updates = [p.detach() for p in some_matrices()]
    together = orthogonal_each(updates)
    for u, v in zip(updates, together, strict=True):
        torch.testing.assert_close(v, orthogonal_each([u])[0], atol=1e-5, rtol=0)


def test_singular_values_end_near_one():
    (update,) = orthogonal_each([torch.randn(32, 8, generator=torch.Generator().manual_seed(0))])
    values = torch.linalg.svdvals(update)
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_what_has_no_gradient_stays():
    params = some_matrices()
    give_gradients(params[1:], 0)
    before = params[0].detach().clone()
    Muon(params, lr=0.1, weight_decay=0.5).step()
    assert torch.equal(params[0], before)
    assert not torch.equal(params[1], some_matrices()[1])


def test_only_matrices_are_taken():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)


def test_work_is_spread_by_its_cost():
    shapes = [torch.Size(s) for s in ((64, 64), (8, 8), (32, 64), (32, 64), (8, 8))]
    assert owners(shapes, 2) == [0, 1, 1, 1, 1]
    assert owners(shapes[:1], 4) == [0]


def new_optimizers(params) -> Optimizers:
    adam = torch.optim.AdamW(params[4:], lr=0.01)
    return Optimizers(params, [Muon(params[:4], lr=0.02), adam], max_grad_norm=1.0)


def test_a_saved_state_goes_on_as_if_never_stopped():
    straight, first = some_matrices(), some_matrices()
    whole, part = new_optimizers(straight), new_optimizers(first)
    for step in range(4):
        give_gradients(straight, step)
        whole.step(1.0 - step / 4)
    for step in range(2):
        give_gradients(first, step)
        part.step(1.0 - step / 4)
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    second = [torch.nn.Parameter(p.detach().clone()) for p in first]
    resumed = new_optimizers(second)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for step in range(2, 4):
        give_gradients(second, step)
        resumed.step(1.0 - step / 4)
    for p, q in zip(straight, second, strict=True):
        assert torch.equal(p, q)


def test_the_norm_is_that_before_clipping():
    params = some_matrices()
    give_gradients(params, 0)
    norm = torch.cat([p.grad.flatten() for p in params]).norm()
    torch.testing.assert_close(new_optimizers(params).step(1.0), norm)
    assert all(p.grad is None for p in params)
