"""Tokens of drawn masks, against the segmenters' own and against ``segment_anything``'s predictor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from torch import Tensor

from benchmarks.shared import golden_pipeline
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.geometry import crisp_masks
from torchmetrics_sess.relations.tokens import Origin, mask_iou, read_tokens
from torchmetrics_sess.segmenters import SamSegmenter


@pytest.fixture(scope="module")
def segmenter() -> SamSegmenter:
    return golden_pipeline.tiny_segmenter(points_per_side=6)


@pytest.fixture(scope="module")
def image() -> Tensor:
    """A picture that is wider than high, so that both scales matter."""
    return golden_pipeline.image("0/a")[:, 40:160] / 255


@pytest.mark.parametrize(
    "places", [[[30.0, 20.0], [150.5, 90.0], [100.0, 60.0]], [[10.0, 5.0, 90.0, 80.0], [100.0, 40.0, 200.0, 119.0]]]
)
def test_prompts_are_answered_as_by_the_predictor(
    segmenter: SamSegmenter, image: Tensor, places: list[list[float]]
) -> None:
    predictor = SamPredictor(segmenter.sam)
    predictor.set_image((image * 255).byte().permute(1, 2, 0).numpy())
    tokens: list[Tensor] = []
    hook = segmenter.sam.mask_decoder.transformer.register_forward_hook(lambda *call: tokens.append(call[-1][0]))
    [embedding] = segmenter.encode([image])
    answer = segmenter.prompt(embedding, image.shape[1], image.shape[2], torch.tensor(places))
    tokens.clear()
    assert answer.tokens is not None
    for index, place in enumerate(places):
        given = np.array(place)
        how = {"box": given} if len(place) == 4 else {"point_coords": given[None], "point_labels": np.ones(1)}
        masks, predicted_iou, _ = predictor.predict(**how)
        best = int(predicted_iou.argmax())
        assert mask_iou(answer.masks[0, index : index + 1], torch.from_numpy(masks[best : best + 1])).item() > 0.999
        torch.testing.assert_close(answer.tokens[0, index], tokens[-1][0, 2 + best], rtol=0, atol=1e-4)
    hook.remove()


def test_found_masks_get_their_own_tokens_and_others_are_prompted(segmenter: SamSegmenter, image: Tensor) -> None:
    [found] = segmenter([image])
    assert found.tokens is not None
    speck = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
    speck[0, 50:54, 100:103] = True
    order = torch.arange(found.masks.shape[1]).flip(0)
    drawn = torch.cat([found.masks[0, order], speck])
    [read] = read_tokens(segmenter, [image], [drawn])
    assert read.origins.tolist() == [Origin.MATCHED] * len(order) + [Origin.PROMPTED]
    torch.testing.assert_close(read.tokens[:-1], found.tokens[0, order], rtol=0, atol=1e-5)
    [embedding] = segmenter.encode([image])
    prompted = segmenter.prompt(embedding, image.shape[1], image.shape[2], torch.tensor([[100.0, 50.0, 103.0, 54.0]]))
    assert prompted.tokens is not None
    torch.testing.assert_close(read.tokens[-1:], prompted.tokens[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(read.iou, mask_iou(found.masks[0], drawn))


def test_lite_describes_a_drawn_mask_by_what_lies_under_it(lite: SceneGraphExtractor, image: Tensor) -> None:
    [found] = lite.segmenter([image])
    crisp = crisp_masks(found.masks[0], *image.shape[1:])
    drawn = crisp[crisp.flatten(1).any(1)]
    whole = torch.ones(1, *image.shape[1:], dtype=torch.bool)
    [read], [together, _] = (
        read_tokens(lite.segmenter, [image] * count, [torch.cat([drawn, whole])] * count) for count in (1, 2)
    )
    assert found.tokens is not None
    assert read.origins.tolist() == [Origin.POOLED] * (len(drawn) + 1)
    # Regions are soft, and these are not; but nothing is more like a region's token than that of its own pixels.
    cosine = torch.nn.functional.normalize(read.tokens[:-1]) @ torch.nn.functional.normalize(found.tokens[0]).T
    assert (cosine.argmax(1) == crisp.flatten(1).any(1).nonzero()[:, 0]).float().mean() > 0.9
    torch.testing.assert_close(together.tokens, read.tokens, rtol=0, atol=1e-4)
    assert read.iou.shape == (found.masks.shape[1], len(drawn) + 1)


def test_wrong_masks_are_refused(segmenter: SamSegmenter, image: Tensor) -> None:
    whole = torch.ones(1, *image.shape[1:], dtype=torch.bool)
    with pytest.raises(ValueError, match="`masks` must not be empty"):
        read_tokens(segmenter, [image], [torch.cat([whole, ~whole])])
    with pytest.raises(ValueError, match="`masks` must be of the size of their image"):
        read_tokens(segmenter, [image], [whole[:, 1:]])
    with pytest.raises(ValueError, match="`masks` must hold one stack for each of the 1 images, got 0"):
        read_tokens(segmenter, [image], [])
    with pytest.raises(TypeError, match="`segmenter` must be a SamSegmenter or DinoSegmenter, got int"):
        read_tokens(3, [image], [whole])
    assert read_tokens(segmenter, [], []) == []
