"""Objects are the pieces that belong together, whatever their order, and sums over them stay what they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.shared.matching_oracle import random_graph, random_relation_similarity
from torchmetrics_sess import Explanation, SceneGraph, group_objects
from torchmetrics_sess.explanation import describe_loss
from torchmetrics_sess.matching import MatchingConfig, match_graphs
from torchmetrics_sess.objects import object_graph

KNOWN = torch.from_numpy(random_relation_similarity(0))
LITE = MatchingConfig(
    assignment="transport",
    slack=9.0,
    balance="lower",
    iterations=0,
    exponent=2.0,
    image_weight=0.0,
    cosine_floor=0.0,
)

laws = settings(derandomize=True, deadline=None, max_examples=25)


def stripes(count: int, height: int = 4) -> Tensor:
    """Return masks that share out an image."""
    return (torch.arange(3 * count) // 3 == torch.arange(count)[:, None])[:, None].expand(-1, height, -1).clone()


def masks_of(graph: SceneGraph, masks: Tensor) -> SceneGraph:
    return dataclasses.replace(graph, masks=masks)


def regions(count: int, seed: int, kinds: int = 3) -> SceneGraph:
    """Return a graph of regions that show so many kinds of things."""
    generator = torch.Generator().manual_seed(seed)
    graph = random_graph(count, count * count, seed, dimensions=16)
    kind = torch.randint(kinds, (count,), generator=generator)
    features = torch.eye(16, dtype=torch.float64)[kind] + 0.1 * graph.features
    features = torch.nn.functional.normalize(features, dim=-1)
    return dataclasses.replace(graph, features=features, masks=stripes(count))


@st.composite
def graphs(draw: st.DrawFn) -> SceneGraph:
    """Draw graphs of regions, or of masks that overlap as they please, some of them empty."""
    count, seed = draw(st.integers(1, 8)), draw(st.integers(0, 999))
    graph = regions(count, seed)
    if draw(st.booleans()):
        generator = torch.Generator().manual_seed(seed)
        graph = masks_of(
            graph, torch.rand(count, 4, 5, generator=generator) < torch.rand(count, 1, 1, generator=generator)
        )
    return graph.to(draw(st.sampled_from([torch.float64, torch.float32])))


def explanation_of(preds: SceneGraph, target: SceneGraph, config: MatchingConfig) -> Explanation:
    match = match_graphs(preds, target, KNOWN, config)
    image = torch.zeros(3, 4, 5)
    return Explanation(preds, target, match, config.image_weight, image, image, "signature", baseline=0.0)


@laws
@given(graphs())
def test_objects_are_numbered_without_gaps_the_most_important_first(graph: SceneGraph) -> None:
    objects = group_objects(graph)
    assert objects.dtype == torch.int64
    assert objects.shape == (len(graph),)
    assert objects.unique().tolist() == list(range(int(objects.max()) + 1))
    merged = object_graph(graph, objects)
    assert merged.importance.tolist() == sorted(merged.importance.tolist(), reverse=True)
    torch.testing.assert_close(merged.importance.sum(), graph.importance.sum())
    assert merged.masks is not None
    assert graph.masks is not None
    assert torch.equal(merged.masks.any(0), graph.masks.any(0))
    assert torch.equal(group_objects(graph), objects)


@laws
@given(st.integers(2, 12), st.integers(0, 999))
def test_the_order_of_regions_does_not_matter(count: int, seed: int) -> None:
    graph = regions(count, seed)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    shuffled = SceneGraph(
        graph.features[order],
        graph.centers[order],
        graph.importance[order],
        graph.relation[order][:, order],
        graph.confidence[order][:, order],
        graph.image_feature,
        stripes(count)[order],
    )
    assert torch.equal(group_objects(graph)[order], group_objects(shuffled))


def test_regions_join_by_what_they_show() -> None:
    graph = dataclasses.replace(
        regions(4, 0),
        features=torch.eye(16, dtype=torch.float64)[torch.tensor([0, 1, 0, 1])],
        importance=torch.tensor([0.1, 0.3, 0.2, 0.4], dtype=torch.float64),
        centers=torch.rand(4, 2, dtype=torch.float64),
    )
    assert group_objects(graph).tolist() == [1, 0, 1, 0]


def test_parts_join_the_largest_whole_but_not_the_scene() -> None:
    masks = torch.zeros(5, 20, 20, dtype=torch.bool)
    masks[0] = True  # the scene
    masks[1, 2:12, 2:12] = True  # a person
    masks[2, 2:6, 4:8] = True  # the head
    masks[3, 3:4, 5:7] = True  # the eyes
    masks[4, 8:18, 10:18] = True  # what stands before the person
    graph = masks_of(random_graph(5, 0, 0), masks)
    objects = group_objects(graph).tolist()
    assert objects[1] == objects[2] == objects[3]
    assert len(set(objects)) == 3


def test_objects_relate_as_most_of_their_nodes_do() -> None:
    graph = dataclasses.replace(
        regions(3, 0),
        relation=torch.tensor([[-1, 7, 4], [-1, -1, 4], [-1, -1, -1]]),
        confidence=torch.tensor([[-1.0, 0.9, 0.3], [-1.0, -1.0, 0.6], [-1.0, -1.0, -1.0]], dtype=torch.float64),
        importance=torch.full((3,), 1 / 3, dtype=torch.float64),
    )
    merged = object_graph(graph, torch.tensor([0, 0, 1]))
    assert merged.relation.tolist() == [[-1, 4], [-1, -1]]
    assert merged.confidence.tolist() == [[-1.0, 0.6], [-1.0, -1.0]]


@laws
@given(graphs(), graphs(), st.sampled_from([LITE, MatchingConfig(iterations=1), MatchingConfig(image_weight=1.0)]))
def test_contributions_of_objects_are_sums_over_their_pieces(
    preds: SceneGraph, target: SceneGraph, config: MatchingConfig
) -> None:
    explanation = explanation_of(preds, target, config)
    objects = explanation.objects
    assert objects.objects is objects
    assert objects.grouping is not None
    assert (objects.score, objects.loss) == (explanation.score, explanation.loss)
    for rows in (explanation.to_rows(), explanation.to_rows(pieces=True), objects.to_rows()):
        assert sum(row["contribution"] for row in rows) == pytest.approx(explanation.loss, abs=1e-9)
    sides: list[tuple[Tensor, Tensor, Tensor]] = [
        (objects.grouping[0], explanation.preds_contributions, objects.preds_contributions),
        (objects.grouping[1], explanation.target_contributions, objects.target_contributions),
        (objects.grouping[1], explanation.target_weights, objects.target_weights),
    ]
    for grouping, pieces, summed in sides:
        expected = torch.zeros_like(summed).index_add(0, grouping, pieces)
        torch.testing.assert_close(summed, expected, rtol=0, atol=1e-9)
    assert objects.match.assignment == [(i, j) for i, j in objects.match.plan.nonzero().tolist()]


def test_an_original_has_the_same_objects_beside_every_reconstruction() -> None:
    target = regions(9, 3)
    first, second = (explanation_of(regions(9, seed), target, LITE).objects for seed in (4, 5))
    assert first.grouping is not None
    assert second.grouping is not None
    assert torch.equal(first.grouping[1], second.grouping[1])
    assert torch.equal(first.target.importance, second.target.importance)


def test_a_loss_is_put_into_words() -> None:
    target = dataclasses.replace(
        regions(3, 0),
        features=torch.eye(16, dtype=torch.float64)[:3],
        centers=torch.tensor([[0.5, 0.5], [0.1, 0.1], [0.9, 0.5]], dtype=torch.float64),
        importance=torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        masks=torch.zeros(3, 9, 9, dtype=torch.bool),
    )
    assert target.masks is not None
    target.masks[0, 3:6, 3:6] = target.masks[1, :3, :3] = target.masks[2, 6:, 3:6] = True
    gone = torch.eye(16, dtype=torch.float64)[[9, 1, 2]]
    config = MatchingConfig(theta=0.0, iterations=0, image_weight=0.0, cosine_floor=0.0)
    explanation = explanation_of(dataclasses.replace(target, features=gone), target, config)
    assert explanation.in_words() == (
        "Lost: object 0, in the middle (100 % of the loss). Kept: object 1, at the top left; object 2, at the bottom."
    )
    named = explanation.in_words(["cat", "sun", "mat"])
    assert named.startswith("Lost: object 0 (cat), in the middle")
    assert explanation_of(target, target, config).in_words().startswith("Kept: object 0, in the middle; object 1, ")
    assert describe_loss(explanation.objects) == explanation.in_words()


@pytest.mark.parametrize("function", [group_objects, object_graph])
def test_a_graph_without_masks_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="`graph` must have masks to be grouped"):
        function(random_graph(3, 0, 0))
