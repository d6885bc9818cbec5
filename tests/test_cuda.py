"""What only a GPU can show. Where there is none, this file is not collected."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from small_lite import KNOWN, LITE, images, small_extractor
from stub_extractor import ColourEncoder, stub_extractor, stub_images, stub_preset
from torch import Tensor

from torchmetrics_sess import SemanticSimilarityLoss, SemanticSimilarityScore, explain, semantic_similarity_score
from torchmetrics_sess.encoders.dino import DinoEncoder
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.presets.pool import keep_networks
from torchmetrics_sess.segmenters.dino import DinoSegmenter

CUDA = torch.device("cuda")
IMAGES = stub_images(8)


@pytest.fixture
def on_cuda() -> SceneGraphExtractor:
    """Return an extractor whose network is on CUDA, and which leaves images where they are."""
    stub = stub_extractor()
    return SceneGraphExtractor(stub.segmenter, stub.relation_model, ColourEncoder().to(CUDA), max_width=None)


def test_a_metric_on_the_cpu_waits_for_images_on_cuda() -> None:
    metric, expected = (SemanticSimilarityScore(stub_preset(), reduction="none") for _ in range(2))
    big = stub_images(8, size=(1200, 1600))
    expected.update(big, big.flip(0))
    metric.update(big.to(CUDA), big.flip(0).to(CUDA))
    assert torch.equal(metric.compute(), expected.compute())


def test_a_pair_on_the_cpu_is_explained_by_an_extractor_on_cuda(on_cuda: SceneGraphExtractor) -> None:
    parts: dict[str, Any] = {"extractor": on_cuda, "relation_similarity": torch.eye(56)}
    explanation = explain(IMAGES[0], IMAGES[1], **parts, device=CUDA)
    score = semantic_similarity_score(IMAGES[:1], IMAGES[1:2], **parts, device=CUDA)
    assert explanation.score == pytest.approx(score.item(), abs=1e-6)


def test_networks_follow_the_current_device() -> None:
    preset = stub_preset("cuda")
    for index in range(torch.cuda.device_count()):
        with torch.cuda.device(index):
            assert keep_networks(preset, CUDA).extractor.device == torch.device("cuda", index)


@pytest.fixture
def fast_modes() -> Iterator[None]:
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("fast_modes")
def test_threads_leave_the_fast_modes_as_they_were() -> None:
    a, b = (torch.randn(512, 512, device=CUDA) for _ in range(2))
    fast, exact = a @ b, (a.double() @ b.double()).float()
    assert not torch.allclose(fast, exact, atol=1e-3)
    found: list[Tensor] = []

    def multiply() -> None:
        for _ in range(20):
            with full_precision(CUDA):
                found.append(a @ b)

    threads = [threading.Thread(target=multiply) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(product, exact, atol=1e-3) for product in found)
    assert torch.equal(a @ b, fast)


def test_a_loss_on_cuda_has_the_gradient_of_one_on_the_cpu() -> None:
    preds, target = images(3, 1), images(3, 2)
    gradients = []
    for device in ("cpu", "cuda"):
        extractor = small_extractor()
        segmenter, encoder = extractor.segmenter, extractor.encoder
        assert isinstance(segmenter, DinoSegmenter)
        assert isinstance(encoder, DinoEncoder)
        assert encoder.token_map is not None
        segmenter.network.to(device)
        constants = (constant.to(device) for constant in (encoder.token_mean, encoder.image_mean, encoder.token_map))
        parts = segmenter, extractor.relation_model, DinoEncoder(*constants)
        moved = SceneGraphExtractor(*parts, importance=extractor.importance, max_width=None)
        loss = SemanticSimilarityLoss(extractor=moved, relation_similarity=KNOWN, matching=LITE.matching)
        pixels = preds.to(device).requires_grad_()
        value = loss(pixels, target)
        assert value.device == pixels.device
        value.backward()
        assert pixels.grad is not None
        gradients.append(pixels.grad.cpu())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)
