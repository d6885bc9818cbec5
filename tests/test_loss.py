"""The loss is what the metric lacks of 1, its gradient is that of its value, and trainings change neither."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_lite import KNOWN, LITE, Codec, images, small_extractor
from stub_extractor import stub_extractor, stub_preset
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from torchmetrics_sess import SemanticSimilarityLoss, SemanticSimilarityScore, semantic_similarity_loss
from torchmetrics_sess import loss as loss_module
from torchmetrics_sess.encoders.dino import DinoEncoder
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.importance import ImportanceConfig
from torchmetrics_sess.loss import differentiate_scores
from torchmetrics_sess.matching import MatchingConfig, match_graph_pairs
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.scoring import Reduction
from torchmetrics_sess.segmenters.dino import DinoSegmenter

OLD = load_preset("lite-0.1")
MATCHINGS = {
    "lite": LITE.matching,
    "lite-0.1": OLD.matching,
    "lite with neighbours": dataclasses.replace(LITE.matching, iterations=2, beta=0.3),
    "published": MatchingConfig(),
}


def small_loss(matching: str = "lite", **arguments: Any) -> SemanticSimilarityLoss:
    return SemanticSimilarityLoss(
        extractor=small_extractor(), relation_similarity=KNOWN, matching=MATCHINGS[matching], **arguments
    )


PREDS, TARGET = images(3, 1), images(3, 2)


def gradient_of(loss: SemanticSimilarityLoss, preds: Tensor = PREDS, target: Tensor = TARGET) -> Tensor:
    preds = preds.detach().clone().requires_grad_()
    loss(preds, target).backward()
    assert preds.grad is not None
    return preds.grad


@pytest.mark.parametrize("matching", MATCHINGS)
def test_value_is_that_of_the_metric(matching: str) -> None:
    metric = SemanticSimilarityScore(
        extractor=small_extractor(), relation_similarity=KNOWN, matching=MATCHINGS[matching], reduction="none"
    )
    expected = 1 - metric(PREDS, TARGET)
    loss = small_loss(matching, reduction="none")
    differentiated = loss(PREDS.clone().requires_grad_(), TARGET)
    assert differentiated.requires_grad
    assert not loss(PREDS, TARGET).requires_grad
    for values in (differentiated.detach(), loss(PREDS, TARGET)):
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-6)
    assert loss.signature == metric.signature


def slopes(
    extractor: SceneGraphExtractor,
    matching: MatchingConfig,
    preds: Tensor,
    target: Tensor,
    direction: Tensor,
    step: float,
) -> tuple[float, float]:
    """Return the derivative of a score along a direction: by the gradient, and by finite differences."""
    originals = extractor.extract([target])
    image = preds.clone().requires_grad_()
    _, [gradient] = differentiate_scores(extractor, [image], originals, KNOWN, matching, by=[image])
    around = extractor.extract([preds + step * direction]) + extractor.extract([preds - step * direction])
    ahead, behind = (result.score for result in match_graph_pairs(around, originals * 2, KNOWN, matching))
    return float((gradient * direction).sum()), (ahead - behind) / (2 * step)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    matching=st.sampled_from([MATCHINGS["lite"], MATCHINGS["lite-0.1"], MATCHINGS["lite with neighbours"]]),
    importance=st.sampled_from([LITE.importance, OLD.importance, ImportanceConfig(saliency="segmenter", k3=1.0)]),
)
def test_gradient_agrees_with_finite_differences(
    seed: int, matching: MatchingConfig, importance: ImportanceConfig
) -> None:
    extractor = small_extractor(seed, importance, torch.float64)
    [preds, target] = images(2, seed, dtype=torch.float64)
    direction = torch.randn(preds.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    slope, expected = slopes(extractor, matching, preds, target, direction, 1e-6)
    assert slope == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.fixture(scope="module")
def smaller_lite(lite: SceneGraphExtractor) -> SceneGraphExtractor:
    """Return ``lite`` with few pixels and regions."""
    assert isinstance(lite.segmenter, DinoSegmenter)
    config = dataclasses.replace(lite.segmenter.config, image_size=84, seeds_per_side=6)
    return SceneGraphExtractor(
        DinoSegmenter(lite.segmenter.network, config),
        lite.relation_model,
        lite.encoder,
        importance=lite.importance,
        max_width=None,
    )


def jpeg(photograph: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    to_pil_image(photograph).save(buffer, "JPEG", quality=quality)
    decoded: Tensor = pil_to_tensor(Image.open(buffer).convert("RGB"))
    return decoded


def test_gradient_of_the_real_network_agrees_with_finite_differences(
    smaller_lite: SceneGraphExtractor, photographs: dict[str, Tensor]
) -> None:
    segmenter, encoder = smaller_lite.segmenter, smaller_lite.encoder
    assert isinstance(segmenter, DinoSegmenter)
    assert isinstance(encoder, DinoEncoder)
    exact = SceneGraphExtractor(
        DinoSegmenter(copy.deepcopy(segmenter.network).double(), segmenter.config),
        smaller_lite.relation_model,
        DinoEncoder(
            encoder.token_mean.double(),
            encoder.image_mean.double(),
            None if encoder.token_map is None else encoder.token_map.double(),
        ),
        importance=smaller_lite.importance,
        max_width=None,
    )
    target, preds = (image.double() / 255 for image in (photographs["cat"], jpeg(photographs["cat"], 5)))
    preds = preds.clamp(0.01, 0.99)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        direction = torch.randn(preds.shape, generator=generator, dtype=torch.float64)
        # Among its many rectifiers, longer steps find kinks.
        slope, expected = slopes(exact, LITE.matching, preds, target, direction, 1e-7)
        assert slope == pytest.approx(expected, rel=1e-4)


def test_ascent_raises_the_score_of_a_compressed_photograph(
    smaller_lite: SceneGraphExtractor, photographs: dict[str, Tensor]
) -> None:
    target = photographs["astronaut"][None]
    image = jpeg(photographs["astronaut"], 5)[None].float() / 255
    loss = SemanticSimilarityLoss(
        extractor=smaller_lite, relation_similarity=KNOWN, matching=LITE.matching, cache_targets=True
    )
    losses = []
    for _ in range(50):
        image.requires_grad_()
        value = loss(image, target)
        value.backward()
        assert image.grad is not None
        losses.append(value.item())
        # To a first approximation, every step takes a share of what is left of the loss.
        step = 0.05 * value.item() / image.grad.norm() ** 2
        image = (image.detach() - step * image.grad).clamp(0, 1)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2
    assert loss.cache_info().misses == 1


def test_gradient_is_finite_where_images_show_nothing(smaller_lite: SceneGraphExtractor) -> None:
    black = torch.zeros(3, 40, 50)
    noise = images(1, 0)[0]
    pairs = [(noise, noise), (black, black), (black + 0.5, black + 0.5), (black, noise), (noise, black + 1)]
    for extractor in (smaller_lite, small_extractor()):
        loss = SemanticSimilarityLoss(extractor=extractor, relation_similarity=KNOWN, matching=LITE.matching)
        preds = [a.clone().requires_grad_() for a, _ in pairs]
        loss(preds, [b for _, b in pairs]).backward()
        for image in preds:
            assert image.grad is not None
            assert image.grad.isfinite().all()
            assert image.grad.abs().max() < 1e3


def test_gradient_is_finite_where_a_network_sees_nothing() -> None:
    extractor = small_extractor()
    assert isinstance(extractor.segmenter, DinoSegmenter)
    for parameter in extractor.segmenter.network.parameters():
        parameter.zero_()
    loss = SemanticSimilarityLoss(extractor=extractor, relation_similarity=KNOWN, matching=LITE.matching)
    assert gradient_of(loss).isfinite().all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_and_weights_of_pairs(reduction: Reduction) -> None:
    alone = torch.cat([gradient_of(small_loss(), PREDS[i : i + 1], TARGET[i : i + 1]) for i in range(3)])
    preds = PREDS.clone().requires_grad_()
    value = small_loss(reduction=reduction)(preds, TARGET)
    weights = torch.tensor([2.0, 0.0, -1.0]) if reduction == "none" else torch.ones(3)
    (value * weights).sum().backward() if reduction == "none" else value.backward()
    scale = weights / 3 if reduction == "mean" else weights
    torch.testing.assert_close(preds.grad, alone * scale[:, None, None, None], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_batch_size_changes_nothing(batch_size: int) -> None:
    torch.testing.assert_close(gradient_of(small_loss(batch_size=batch_size)), gradient_of(small_loss()))


def test_images_of_other_forms() -> None:
    expected = gradient_of(small_loss())
    assert torch.equal(gradient_of(small_loss(), PREDS.contiguous(memory_format=torch.channels_last)), expected)
    scaled = gradient_of(small_loss(data_range=(-1, 1)), 2 * PREDS - 1, 2 * TARGET - 1)
    torch.testing.assert_close(scaled, expected / 2, rtol=1e-3, atol=1e-6)
    double = gradient_of(small_loss(), PREDS.double())
    torch.testing.assert_close(double, expected.double())
    half = gradient_of(small_loss(), PREDS.half())
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.05 * expected.abs().max().item())

    listed = [PREDS[0].clone().requires_grad_(), PREDS[1].clone(), PREDS[2, :1].clone().requires_grad_()]
    small_loss()(listed, list(TARGET)).backward()
    torch.testing.assert_close(listed[0].grad, expected[0])
    assert listed[1].grad is None
    assert listed[2].grad is not None
    assert listed[2].grad.shape == (1, 20, 30)


def test_values_out_of_range() -> None:
    beyond = PREDS.clone()
    beyond[:, :, 5] = 1.2
    with pytest.raises(ValueError, match="`preds` must lie in `data_range`"):
        small_loss()(beyond.requires_grad_(), TARGET)
    gradient = gradient_of(small_loss(out_of_range="clamp"), beyond)
    assert not gradient[:, :, 5].any()
    assert gradient[:, :, 6].any()


def test_the_metric_has_no_gradient_and_says_so() -> None:
    metric = SemanticSimilarityScore(extractor=small_extractor(), relation_similarity=KNOWN)
    value = metric(PREDS.clone().requires_grad_(), TARGET)
    assert value.requires_grad == metric.is_differentiable == SemanticSimilarityScore.is_differentiable
    assert not value.requires_grad


def test_only_preds_have_a_gradient() -> None:
    preds, target = PREDS.clone(), TARGET.clone().requires_grad_()
    assert not small_loss()(preds, target).requires_grad
    small_loss()(preds.requires_grad_(), target).backward()
    assert target.grad is None
    with torch.no_grad():
        assert not small_loss()(preds, target).requires_grad


@pytest.mark.parametrize("power", [1, 2])
def test_there_is_no_gradient_of_the_gradient(power: int) -> None:
    preds = PREDS.clone().requires_grad_()
    [gradient] = torch.autograd.grad(small_loss()(preds, TARGET) ** power, preds, create_graph=True)
    [alone] = torch.autograd.grad(small_loss()(preds, TARGET) ** power, preds)
    assert torch.equal(gradient, alone)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


def test_the_module_holds_nothing() -> None:
    loss = SemanticSimilarityLoss(LITE)
    assert not list(loss.parameters()) + list(loss.buffers()) + list(loss.children())
    assert not loss.state_dict()
    assert len(pickle.dumps(loss)) < 10_000
    assert repr(pickle.loads(pickle.dumps(loss))) == repr(copy.deepcopy(loss)) == repr(loss)  # noqa: S301
    assert repr(loss) == "SemanticSimilarityLoss(preset='lite', reduction='mean')"


@pytest.mark.parametrize("name", ["reference", "reference-bf16", "sam-b"])
def test_presets_without_a_gradient_say_why(name: str) -> None:
    message = f"'{name}' has no gradient .* segmenter, 'sam', .*`max_width`.* one: 'lite', 'lite-0.1'"
    with pytest.raises(ValueError, match=message):
        SemanticSimilarityLoss(name)
    with pytest.raises(ValueError, match=message):
        semantic_similarity_loss(PREDS, TARGET, name)


def test_other_sources_without_a_gradient_say_why() -> None:
    with pytest.raises(ValueError, match=r"'lite\*' has no gradient .* 'spectral_residual', which computes in whole"):
        SemanticSimilarityLoss(overrides={"importance.saliency": "spectral_residual"})
    with pytest.raises(ValueError, match=r"'lite\*' has no gradient .* `max_width` is 800"):
        SemanticSimilarityLoss(overrides={"max_width": 800})
    with pytest.raises(ValueError, match=r"the preset 'stub' has no gradient .* 'quarters', cannot be differentiated"):
        SemanticSimilarityLoss(stub_preset())
    with pytest.raises(ValueError, match=r"this `extractor` has no gradient .* 'QuarterSegmenter'"):
        SemanticSimilarityLoss(extractor=stub_extractor(), relation_similarity=KNOWN)


def trained_gradient(codec: nn.Module, batch: Tensor = TARGET) -> Tensor:
    codec.zero_grad()
    codec(batch).backward()
    return next(parameter.grad for parameter in codec.parameters() if parameter.grad is not None)


# What torch itself does to a tensor between two compiled parts.
@pytest.mark.filterwarnings("ignore:.*attribute of a Tensor that is not a leaf Tensor is being accessed.*")
def test_a_compiled_training_meets_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    # No compiler sees through the checks of types that only tests make.
    monkeypatch.setattr(SemanticSimilarityLoss, "forward", inspect.unwrap(SemanticSimilarityLoss.forward))
    monkeypatch.setattr(loss_module, "pair_losses", inspect.unwrap(loss_module.pair_losses))
    monkeypatch.setattr(loss_module, "reduce_losses", inspect.unwrap(loss_module.reduce_losses))
    codec = Codec()
    expected = trained_gradient(codec)
    compiled: Any = torch.compile(codec, backend="eager")
    torch.testing.assert_close(trained_gradient(compiled), expected)


def test_autocast_changes_nothing() -> None:
    preds = PREDS.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = small_loss()(preds, TARGET)
    value.backward()
    assert preds.grad is not None
    assert torch.equal(preds.grad, gradient_of(small_loss()))


def test_checkpointing_by_the_caller_changes_nothing() -> None:
    preds = PREDS.clone().requires_grad_()
    value: Any = torch.utils.checkpoint.checkpoint(small_loss(), preds, TARGET, use_reentrant=False)
    value.backward()
    torch.testing.assert_close(preds.grad, gradient_of(small_loss()))
