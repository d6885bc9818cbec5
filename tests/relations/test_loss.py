import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmetrics_sess.relations.loss import bce_loss, candidate_pairs, hard_predicate_mean, zlpr_loss

DATA = Path(__file__).parents[1] / "data"
LOSSES = {"zlpr": zlpr_loss, "bce": bce_loss}


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA / "recall_dev.npz") as arrays:
        return dict(arrays)


def golden_case(image: int) -> tuple[Tensor, Tensor]:
    """Logits and target of one image, float64, with a batch dimension."""
    scores = torch.from_numpy(golden()[f"{image}/scores"]).double()
    target = torch.zeros(scores.shape, dtype=torch.bool)
    subject, obj, predicate = torch.from_numpy(golden()[f"{image}/relations"]).T
    target[predicate, subject, obj] = True
    return scores.logit()[None], target[None]


@pytest.mark.parametrize("image", range(12))
def test_golden_loss_with_the_diagonal_as_released(image: int) -> None:
    logits, target = golden_case(image)
    losses = zlpr_loss(logits, target, torch.ones_like(target[:, 0]))
    np.testing.assert_allclose(losses[0], golden()[f"{image}/zlpr"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(hard_predicate_mean(losses)[0], golden()[f"{image}/loss"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_padded_batch_is_its_images_alone(name: str) -> None:
    """In the loss and in its gradient, whatever stands in the padding."""
    cases = [golden_case(image) for image in (0, 3, 8, 4)]
    k = max(logits.shape[-1] for logits, _ in cases)
    together = torch.full((len(cases), 56, k, k), 1e4, dtype=torch.float64)
    target = torch.ones(together.shape, dtype=torch.bool)
    valid = torch.zeros(len(cases), k, dtype=torch.bool)
    alone, gradients = [], []
    for index, (logits, relations) in enumerate(cases):
        n = logits.shape[-1]
        together[index, :, :n, :n], target[index, :, :n, :n], valid[index, :n] = logits[0], relations[0], True
        logits.requires_grad_()
        everyone = torch.ones(1, n, dtype=torch.bool)
        loss = hard_predicate_mean(LOSSES[name](logits, relations, candidate_pairs(everyone)))
        alone.append(loss)
        gradients.append(torch.autograd.grad(loss.sum() / len(cases), logits)[0])
    together.requires_grad_()
    losses = hard_predicate_mean(LOSSES[name](together, target, candidate_pairs(valid)))
    torch.testing.assert_close(losses, torch.cat(alone), rtol=0, atol=1e-6)
    [gradient] = torch.autograd.grad(losses.mean(), together)
    for index, expected in enumerate(gradients):
        n = expected.shape[-1]
        torch.testing.assert_close(gradient[index : index + 1, :, :n, :n], expected, rtol=0, atol=1e-6)
        gradient[index, :, :n, :n] = 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@given(n=st.integers(0, 4), seed=st.integers(0, 99), scale=st.sampled_from([1.0, 1e3]))
@settings(deadline=None, max_examples=30)
def test_zlpr_is_the_formula(n: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(1, 56, n, n, generator=generator, dtype=torch.float64)
    target = torch.rand(1, 56, n, n, generator=generator) < 0.3
    pairs = candidate_pairs(torch.ones(1, n, dtype=torch.bool))
    logits.requires_grad_()
    losses = zlpr_loss(logits, target, pairs)
    for predicate in range(0, 56, 11):
        x, is_positive = logits[0, predicate][pairs[0]], target[0, predicate][pairs[0]]
        expected = sum(
            np.logaddexp.reduce([0.0, *values.tolist()])
            for values in (x[~is_positive].detach(), -x[is_positive].detach())
        )
        assert losses[0, predicate].item() == pytest.approx(expected, abs=1e-9)
    [gradient] = torch.autograd.grad(hard_predicate_mean(losses).sum(), logits)
    assert gradient.isfinite().all()
