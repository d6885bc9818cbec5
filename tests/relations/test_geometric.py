from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from torchmetrics_sess.relations import PREDICATES, GeometricRelationModel, GeometricRelationsConfig
from torchmetrics_sess.relations.geometric import predicate_scores
from torchmetrics_sess.stages import Relations, Segmentation

NAMES = ("on", "over", "beside", "in", "enclosing", "attached to", "in front of")


def boxes(*corners: tuple[int, int, int, int], side: int = 48) -> Segmentation:
    """Make one image of boxes given as (top, left, bottom, right)."""
    masks = torch.zeros(1, len(corners), side, side, dtype=torch.bool)
    for mask, (top, left, bottom, right) in zip(masks[0], corners, strict=True):
        mask[top:bottom, left:right] = True
    return Segmentation(masks, torch.ones(1, len(corners), dtype=torch.bool))


def soft(b: int = 2, k: int = 6, seed: int = 0, side: int = 24) -> Segmentation:
    generator = torch.Generator().manual_seed(seed)
    masks = (4 * torch.randn(b, k, side, side, generator=generator)).softmax(1)
    saliency = torch.rand(b, side, side, generator=generator)
    return Segmentation(masks, torch.ones(b, k, dtype=torch.bool), saliency=saliency)


def relate(segmentation: Segmentation, min_score: float = 0.05, max_triplets: int = 99) -> Relations:
    [relations] = GeometricRelationModel(GeometricRelationsConfig(min_score, max_triplets))([segmentation])
    return relations


def predicate(relations: Relations, subject: int, obj: int) -> str | None:
    index = int(relations.relation[0, subject, obj])
    return None if index < 0 else PREDICATES[index]


def test_a_cup_on_a_table() -> None:
    relations = relate(boxes((12, 18, 30, 30), (30, 0, 48, 48)))
    assert predicate(relations, 0, 1) == "on"
    assert predicate(relations, 1, 0) != "on"


def test_a_cloud_over_a_field() -> None:
    relations = relate(boxes((0, 10, 10, 40), (24, 0, 48, 48)))
    assert predicate(relations, 0, 1) == "over"
    assert predicate(relations, 1, 0) is None


def test_two_houses_side_by_side() -> None:
    relations = relate(boxes((12, 0, 36, 24), (12, 24, 36, 48)))
    assert predicate(relations, 0, 1) == predicate(relations, 1, 0) == "beside"


def test_a_window_in_a_wall() -> None:
    segmentation = boxes((20, 20, 28, 28), (0, 0, 48, 48))
    segmentation.masks[0, 1] &= ~segmentation.masks[0, 0]
    relations = relate(segmentation)
    assert predicate(relations, 0, 1) == "in"
    assert predicate(relations, 1, 0) == "enclosing"


def test_a_person_in_front_of_a_wall_of_the_same_size() -> None:
    rows = torch.arange(48)[:, None].expand(48, 48)
    comb = rows % 4 < 2
    masks = torch.stack([comb, ~comb])[None]
    segmentation = Segmentation(masks, torch.ones(1, 2, dtype=torch.bool), saliency=comb[None].float())
    scores = predicate_scores(segmentation)[0]
    assert scores[NAMES.index("in front of"), 0, 1] > 0.9
    assert scores[NAMES.index("in front of"), 1, 0] == 0
    without = predicate_scores(dataclasses.replace(segmentation, saliency=None))[0]
    assert without[NAMES.index("in front of")].max() == 0


def test_what_is_far_apart_is_not_related() -> None:
    relations = relate(boxes((0, 0, 6, 6), (40, 40, 48, 48)))
    assert (relations.relation == -1).all()
    assert (relations.confidence == -1).all()


@given(
    b=st.integers(1, 3),
    k=st.integers(1, 12),
    seed=st.integers(0, 99),
    side=st.sampled_from([5, 24, 31]),
    min_score=st.sampled_from([0.0, 0.05, 0.5]),
    max_triplets=st.sampled_from([1, 7, 99, 1000]),
)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_only_the_strongest_relations_stay(
    b: int, k: int, seed: int, side: int, min_score: float, max_triplets: int
) -> None:
    segmentation = soft(b, k, seed, side)
    scores = predicate_scores(segmentation)
    assert scores.shape == (b, 7, k, k)
    assert 0 <= scores.min() <= scores.max() <= 1
    relations = relate(segmentation, min_score, max_triplets)
    assert torch.equal(relations.valid, segmentation.valid)
    for index in range(b):
        relation, confidence = relations.relation[index], relations.confidence[index]
        kept = relation >= 0
        assert not kept.diagonal().any()
        assert torch.equal(kept, confidence >= 0)
        assert (relation[~kept] == -1).all()
        assert (confidence[~kept] == -1).all()
        best = scores[index].amax(0)
        assert torch.equal(confidence[kept], best[kept])
        assert kept.sum() == min(max_triplets, int((best.fill_diagonal_(-1) >= min_score).sum()))
        left_out = best[~kept]
        if kept.any():
            assert (confidence[kept].min() >= left_out[left_out >= min_score]).all()


def test_ties_do_not_let_more_relations_in() -> None:
    # A chessboard of equal boxes: neighbours of one kind all score the same.
    size = 6
    tiles = boxes(*[(r, c, r + size, c + size) for r in range(0, 48, size) for c in range(0, 48, size)])
    relations = relate(tiles, max_triplets=99)
    assert int((relations.relation >= 0).sum()) == 99
    assert relations.confidence[relations.confidence >= 0].unique().numel() < 99
    assert torch.equal(relations.relation, relate(tiles, max_triplets=99).relation)


def test_padded_slots_have_no_relations_and_change_none() -> None:
    segmentation = soft(b=1, k=5)
    padded = Segmentation(
        torch.cat([segmentation.masks, torch.zeros(1, 2, 24, 24)], dim=1),
        torch.tensor([[True] * 5 + [False] * 2]),
        saliency=segmentation.saliency,
    )
    expected, relations = relate(segmentation), relate(padded)
    assert torch.equal(relations.relation[:, :5, :5], expected.relation)
    torch.testing.assert_close(relations.confidence[:, :5, :5], expected.confidence, rtol=0, atol=1e-6)
    for slots in (relations.relation[:, 5:], relations.relation[:, :, 5:]):
        assert (slots == -1).all()


def test_images_of_a_batch_do_not_see_each_other() -> None:
    segmentation = soft(b=3)
    together = predicate_scores(segmentation)
    for index in range(3):
        assert segmentation.saliency is not None
        alone = Segmentation(
            segmentation.masks[index : index + 1],
            segmentation.valid[index : index + 1],
            saliency=segmentation.saliency[index : index + 1],
        )
        torch.testing.assert_close(predicate_scores(alone)[0], together[index], rtol=0, atol=1e-6)


def test_the_order_of_objects_does_not_matter() -> None:
    segmentation = soft(b=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = dataclasses.replace(segmentation, masks=segmentation.masks[:, order])
    expected = predicate_scores(segmentation)[:, :, order][:, :, :, order]
    torch.testing.assert_close(predicate_scores(shuffled), expected, rtol=0, atol=1e-6)


def test_a_mirror_image_relates_alike() -> None:
    segmentation = soft(b=1)
    assert segmentation.saliency is not None
    mirrored = dataclasses.replace(
        segmentation, masks=segmentation.masks.flip(-1), saliency=segmentation.saliency.flip(-1)
    )
    torch.testing.assert_close(predicate_scores(mirrored), predicate_scores(segmentation), rtol=0, atol=1e-5)


def test_scores_do_not_depend_on_the_resolution_of_masks() -> None:
    segmentation = boxes((12, 18, 30, 30), (30, 0, 48, 48), (4, 0, 30, 18))
    large = dataclasses.replace(segmentation, masks=enlarge(segmentation.masks, 3))
    torch.testing.assert_close(predicate_scores(large), predicate_scores(segmentation), rtol=0, atol=0.03)


def enlarge(masks: Tensor, factor: int) -> Tensor:
    return masks.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


@pytest.mark.parametrize(
    ("min_score", "max_triplets", "message"),
    [
        (-0.1, 99, r"`min_score` must lie in \[0, 1\], got -0\.1"),
        (float("nan"), 99, "`min_score` must lie in .* got nan"),
        (0.05, 0, "`max_triplets` must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(min_score: float, max_triplets: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeometricRelationsConfig(min_score, max_triplets)


def test_masks_become_numbers_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    segmentation = Segmentation(soft(k=5, side=60).masks > 0.3, torch.ones(2, 5, dtype=torch.bool))
    whole = predicate_scores(segmentation)
    sizes = []

    def pool(masks: Tensor, size: tuple[int, int]) -> Tensor:
        sizes.append(masks.numel())
        return adaptive_avg_pool2d(masks, size)

    monkeypatch.setattr("torch.nn.functional.adaptive_avg_pool2d", pool)
    monkeypatch.setattr("torchmetrics_sess.relations.geometric._PIXELS_AT_ONCE", 3 * 60 * 60, raising=False)
    assert torch.equal(predicate_scores(segmentation), whole)
    assert max(sizes) == 3 * 60 * 60
