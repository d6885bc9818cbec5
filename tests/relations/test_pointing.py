"""The objects at points: prompted from Segment Anything, or the regions of ``lite``."""

from __future__ import annotations

import pytest
import torch
from stub_extractor import stub_extractor
from torch import Tensor

from benchmarks.shared import golden_pipeline
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.objects import object_graph
from torchmetrics_sess.relations import GeometricRelationModel, RamRelationModel
from torchmetrics_sess.relations.pointing import PointedGraph, relate_objects, relate_points
from torchmetrics_sess.relations.tokens import mask_iou


@pytest.fixture(scope="module")
def image() -> Tensor:
    return golden_pipeline.image("1/a")


@pytest.fixture(scope="module")
def sam() -> SceneGraphExtractor:
    return SceneGraphExtractor(
        golden_pipeline.tiny_segmenter(points_per_side=6),
        RamRelationModel(golden_pipeline.tiny_relation_head(), candidates=3, keep_always=1),
        golden_pipeline.tiny_encoder(),
    )


def check(answer: PointedGraph) -> None:
    """Check what holds of every answer."""
    graph = answer.graph
    assert answer.probabilities.shape == (56, len(graph), len(graph))
    best, predicate = answer.probabilities.max(0)
    for number in answer.pointed:
        for other in range(len(graph)):
            if other != number:
                for pair in ((number, other), (other, number)):
                    assert graph.relation[pair] == predicate[pair]
                    assert graph.confidence[pair] == best[pair]
    assert graph.relation.diagonal().eq(-1).all()
    shown = answer.focused(min_score=0.01)
    for subject, _, obj in shown.triplets():
        assert {subject, obj} & set(answer.pointed)
        assert shown.confidence[subject, obj] >= 0.01
    assert answer.focused(min_score=1.1).triplets() == []


def test_sam_is_prompted_at_every_point(sam: SceneGraphExtractor, image: Tensor) -> None:
    segmenter = golden_pipeline.tiny_segmenter(points_per_side=6)
    points = [(60, 60), (150, 130)]
    answer = relate_points(sam, image, points)
    check(answer)
    assert len(set(answer.pointed)) == 2
    assert answer.graph.masks is not None
    [embedding] = segmenter.encode([image / 255])
    expected = segmenter.prompt(embedding, 208, 208, torch.tensor(points) + 0.5).masks[0]
    for number, mask in zip(answer.pointed, expected, strict=True):
        assert torch.equal(answer.graph.masks[number], mask)
    # What was found anyway and is nearly the same has given way to it.
    overlaps = mask_iou(answer.graph.masks, expected)
    assert ((overlaps > 0.8).sum(0) == 1).all()
    assert [triplet[:3:2] for triplet in answer.among(1)] == [answer.pointed, answer.pointed[::-1]]
    assert len(answer.among(3)) == 6
    around = answer.around(4)
    assert all((subject in answer.pointed) != (obj in answer.pointed) for subject, _, obj, _ in around)
    assert [p for *_, p in around] == sorted((p for *_, p in around), reverse=True)


def test_two_points_on_one_object_are_one_object(sam: SceneGraphExtractor, image: Tensor) -> None:
    answer = relate_points(sam, image, [(60, 60), (60, 60), (150, 130)])
    check(answer)
    assert answer.pointed[0] == answer.pointed[1] != answer.pointed[2]


def test_wide_images_are_pointed_at_in_their_own_pixels(sam: SceneGraphExtractor, image: Tensor) -> None:
    wide = image.repeat_interleave(5, 1).repeat_interleave(5, 2)
    answer = relate_points(sam, wide, [(5 * 60, 5 * 60)])
    check(answer)
    assert answer.graph.masks is not None
    assert answer.graph.masks.shape[1:] == (800, 800)
    assert answer.graph.masks[answer.pointed[0], 60 * 800 // 208, 60 * 800 // 208]


def test_lite_takes_the_region_there(lite: SceneGraphExtractor, photographs: dict[str, Tensor]) -> None:
    image = photographs["cat"]
    [graph] = lite([image])
    answer = relate_points(lite, image, [(100, 60), (20, 120.5)], pieces=True)
    check(answer)
    assert graph.masks is not None
    assert [graph.masks[:, 60, 100].nonzero().item(), graph.masks[:, 120, 20].nonzero().item()] == list(answer.pointed)
    torch.testing.assert_close(answer.graph.features, graph.features)
    torch.testing.assert_close(answer.graph.centers, graph.centers)


def test_lite_takes_the_object_there(lite: SceneGraphExtractor, photographs: dict[str, Tensor]) -> None:
    image = photographs["cat"]
    [graph] = lite([image])
    objects = object_graph(graph)
    answer = relate_points(lite, image, [(100, 60), (20, 120.5)])
    check(answer)
    assert objects.masks is not None
    assert answer.graph.masks is not None
    assert 1 < len(answer.graph) < len(graph)
    # Soft masks are added before they get their edges, so that a pixel at an edge may go to another object.
    assert (answer.graph.masks.sum(0) == 1).all()
    for number, (x, y) in zip(answer.pointed, [(100, 60), (20, 120)], strict=True):
        [there] = objects.masks[:, y, x].nonzero().flatten().tolist()
        assert mask_iou(answer.graph.masks[number, None], objects.masks[there, None]).item() > 0.9


def test_where_one_points_changes_no_relation(lite: SceneGraphExtractor, photographs: dict[str, Tensor]) -> None:
    image = photographs["cat"]
    graph = relate_objects(lite, image)
    answer = relate_points(lite, image, [(100, 60), (20, 120.5)])
    assert graph.masks is not None
    assert answer.graph.masks is not None
    assert torch.equal(graph.masks, answer.graph.masks)
    assert torch.equal(graph.importance, answer.graph.importance)
    related = graph.relation >= 0
    assert related.any()
    assert torch.equal(graph.relation[related], answer.graph.relation[related])
    assert torch.equal(graph.confidence[related], answer.graph.confidence[related])


def test_masks_in_each_other_are_objects_as_anywhere(sam: SceneGraphExtractor, image: Tensor) -> None:
    [graph] = sam([image])
    related, objects = relate_objects(sam, image), object_graph(graph)
    assert torch.equal(related.relation, objects.relation)
    assert related.masks is not None
    assert objects.masks is not None
    assert torch.equal(related.masks, objects.masks)


def test_points_elsewhere_are_refused(lite: SceneGraphExtractor, image: Tensor) -> None:
    with pytest.raises(ValueError, match="`points` must lie in the image, 208 x 208 pixels, got 208,3"):
        relate_points(lite, image, [(5, 5), (208, 3)])
    with pytest.raises(ValueError, match="at least one point"):
        relate_points(lite, image, [])
    with pytest.raises(TypeError, match="relation model with probabilities, got AboveRelations"):
        relate_points(stub_extractor(), image, [(5, 5)])


def test_the_smallest_of_several_objects(image: Tensor) -> None:
    from torchmetrics_sess.stages import Segmentation

    class Nested:
        def __call__(self, images: list[Tensor]) -> list[Segmentation]:
            masks = torch.zeros(1, 3, *images[0].shape[1:], dtype=torch.bool)
            masks[0, 0, :150], masks[0, 1, 20:90, 20:90], masks[0, 2, 40:60, 40:60] = True, True, True
            return [Segmentation(masks, torch.ones(1, 3, dtype=torch.bool))]

    extractor = SceneGraphExtractor(Nested(), GeometricRelationModel(), golden_pipeline.tiny_encoder())
    answer = relate_points(extractor, image, [(50, 50), (30, 50), (200, 3)])
    assert answer.pointed == (2, 1, 0)
    with pytest.raises(ValueError, match="`points` must lie on objects, and there is none at 10,180"):
        relate_points(extractor, image, [(10, 180)])
