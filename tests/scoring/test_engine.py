"""Batches that do not fit into memory are scored all the same, and hold no more of it than they need."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stub_extractor import SmallMemory, stub_images
from torch import Tensor

from torchmetrics_sess import SemanticSimilarityScore
from torchmetrics_sess.extractor import to_device
from torchmetrics_sess.images import float_images
from torchmetrics_sess.matching.relation_similarity import minilm_relation_similarity
from torchmetrics_sess.scoring import engine
from torchmetrics_sess.scoring.engine import Extraction, Room


def extract(memory: SmallMemory, room: Room, *sizes: tuple[int, int]) -> list[Any]:
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in sizes]
    pairs = list(zip(images[::2], images[1::2], strict=True))
    return Extraction(memory, (0.0, 1.0), room)(pairs)


def metric(memory: SmallMemory, **arguments: Any) -> SemanticSimilarityScore:
    known = minilm_relation_similarity()
    return SemanticSimilarityScore(extractor=memory, relation_similarity=known, reduction="none", **arguments)


def test_the_metric_halves_what_does_not_fit() -> None:
    preds, target = (stub_images(6, seed) for seed in (1, 2))
    roomy, tight = SmallMemory(10**6), SmallMemory(3 * 96)
    assert torch.equal(metric(tight)(preds, target), metric(roomy)(preds, target))
    assert roomy.sizes == [12]
    assert tight.sizes == [3] * 4


def test_an_image_that_does_not_fit_ends_an_update_and_leaves_the_metric_as_it_was() -> None:
    of = metric(SmallMemory(100))
    with pytest.raises(torch.OutOfMemoryError, match="cpu has not enough memory for an image of 12 x 10 pixels"):
        of.update([torch.zeros(3, 10, 12)], [torch.zeros(3, 8, 12)])
    assert of.update_count == 0


def test_one_image_too_large_does_not_slow_down_the_others() -> None:
    memory, room = SmallMemory(4 * 96), Room()
    small, large = (8, 12), (40, 40)
    graphs = extract(memory, room, small, small, large, small)
    assert [isinstance(graph, torch.OutOfMemoryError) for pair in graphs for graph in pair] == [
        False,
        False,
        True,
        False,
    ]
    memory.sizes.clear()
    extract(memory, room, *[small] * 4)
    assert memory.sizes == [4]


def test_more_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_PASSES_BEFORE_GROWTH", 2)
    memory, room = SmallMemory(2 * 96), Room()
    extract(memory, room, *[(8, 12)] * 8)
    assert memory.sizes == [2, 2, 2, 2]
    memory.sizes.clear()
    memory.pixels = 10**6
    extract(memory, room, *[(8, 12)] * 8)
    assert sum(memory.sizes) == 8
    assert len(memory.sizes) < 4


def test_floats_are_made_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int] = []
    convert = float_images

    def watched(images: list[Tensor], data_range: tuple[float, float]) -> list[Tensor]:
        converted.append(len(images))
        return convert(images, data_range)

    monkeypatch.setattr(engine, "float_images", watched)
    images = (255 * stub_images(5)).byte()
    metric(SmallMemory(10**6), batch_size=2).update(images, images.flip(0))
    assert converted == [4, 4, 2]


def test_an_image_of_several_pairs_is_extracted_once() -> None:
    memory = SmallMemory(10**6)
    preds = list(stub_images(4))
    scores = metric(memory)(preds, [preds[0]] * 4)
    assert memory.sizes == [4]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert (scores[1:] < 0.99).all()


@pytest.mark.parametrize(("device", "blocks"), [("cpu", True), ("meta", False)])
def test_nothing_is_read_on_the_host_before_it_has_arrived(
    device: str, blocks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    move: Any = Tensor.to

    def watched(self: Tensor, *where: Any, non_blocking: bool = False) -> Tensor:
        asked.append(non_blocking)
        moved: Tensor = move(self, *where, non_blocking=non_blocking)
        return moved

    monkeypatch.setattr(Tensor, "to", watched)
    [image] = to_device([torch.zeros(3, 8, 12)], torch.device(device))
    assert image.device.type == device
    assert asked == [not blocks]
