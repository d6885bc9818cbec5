"""The loss is shared out completely, to whom it is due, and the score explained is the one that the metric gives."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_extractor import BUILT, stub_extractor, stub_images, stub_preset
from torch import Tensor

from benchmarks.shared.matching_oracle import random_graph, random_relation_similarity
from torchmetrics_sess import Explanation, SceneGraph, SemanticSimilarityScore, explain, release_networks
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.matching import MatchingConfig, match_graphs
from torchmetrics_sess.matching.config import Assignment
from torchmetrics_sess.presets.pool import pooled_networks
from torchmetrics_sess.scoring import Scorer

KNOWN = torch.from_numpy(random_relation_similarity(0))
IMAGES = stub_images(2)

laws = settings(derandomize=True, deadline=None, max_examples=40)


@st.composite
def graphs(draw: st.DrawFn) -> SceneGraph:
    """Draw graphs of one object or many, of similar, equal or vanishing importances, in any precision."""
    n = draw(st.integers(1, 9))
    graph = random_graph(
        n, draw(st.sampled_from([0, n * n])), draw(st.integers(0, 999)), spread=draw(st.sampled_from([0, 12]))
    )
    return graph.to(draw(st.sampled_from([torch.float64, torch.float32, torch.float16])))


def explanation_of(preds: SceneGraph, target: SceneGraph, config: MatchingConfig) -> Explanation:
    match = match_graphs(preds, target, KNOWN, config)
    return Explanation(preds, target, match, config.image_weight, IMAGES[0], IMAGES[1], "signature")


configs = st.builds(
    MatchingConfig,
    assignment=st.sampled_from(get_args(Assignment)),
    slack=st.sampled_from([0.0, 0.15, 1.0]),
    image_weight=st.sampled_from([0.0, 0.2, 1.0]),
    cosine_floor=st.sampled_from([-1.0, 0.0]),
    iterations=st.just(2),
)


@laws
@given(graphs(), graphs(), configs)
def test_the_contributions_sum_to_the_loss(preds: SceneGraph, target: SceneGraph, config: MatchingConfig) -> None:
    explanation = explanation_of(preds, target, config)
    rows = explanation.to_rows(pieces=True)
    assert explanation.loss == 1 - explanation.score
    assert sum(row["contribution"] for row in rows) == pytest.approx(explanation.loss, abs=1e-9)
    assert sum(row["weight"] for row in rows) == pytest.approx(1, abs=1e-9)
    by_object = explanation.target_contributions.sum() + explanation.preds_contributions.sum()
    assert by_object + explanation.image_contribution == pytest.approx(explanation.loss, abs=1e-9)
    weights = explanation.target_weights.sum() + explanation.preds_weights.sum() + config.image_weight
    assert weights == pytest.approx(1, abs=1e-9)


@laws
@given(graphs(), graphs(), configs)
def test_nothing_contributes_less_than_nothing_or_more_than_its_weight(
    preds: SceneGraph, target: SceneGraph, config: MatchingConfig
) -> None:
    # Similarities below 0 are possible where negative cosines are: only they cost more than all of a weight.
    explanation = explanation_of(preds, target, dataclasses.replace(config, cosine_floor=0.0, alpha=0.0))
    # Features and importances of 16 bits are rounded by up to a thousandth.
    for row in explanation.to_rows(pieces=True):
        assert -2e-3 * row["weight"] <= row["contribution"] + 1e-12
        assert row["contribution"] <= row["weight"] * (1 + 2e-3) + 1e-12


@laws
@given(graphs(), graphs(), configs)
def test_rows_are_what_they_say_most_costly_first(
    preds: SceneGraph, target: SceneGraph, config: MatchingConfig
) -> None:
    explanation = explanation_of(preds, target, config)
    match, rows = explanation.match, explanation.to_rows(pieces=True)
    contributions = [row["contribution"] for row in rows]
    assert contributions == sorted(contributions, reverse=True)
    assert sum(row["kind"] == "whole image" for row in rows) == 1
    assert len({(row["kind"], row["target"], row["preds"]) for row in rows}) == len(rows)
    for row in rows:
        if row["kind"] == "whole image":
            assert (row["target"], row["preds"], row["similarity"]) == (None, None, match.image_score)
            assert row["contribution"] == pytest.approx(row["weight"] * (1 - match.image_score), abs=1e-12)
        elif row["kind"] == "matched":
            assert row["similarity"] == match.similarity[row["preds"], row["target"]]
            assert row["target_importance"] == target.importance[row["target"]]
            assert row["preds_importance"] == preds.importance[row["preds"]]
            # Importances of 16 bits sum to 1 up to a thousandth.
            expected = row["weight"] * (1 - row["similarity"])
            assert row["contribution"] == pytest.approx(expected, abs=2e-3 * max(row["weight"], 1e-9))
        else:
            side, other = ("target", "preds") if row["kind"] == "unmatched in target" else ("preds", "target")
            assert row[side] is not None
            assert row["contribution"] == pytest.approx(row["weight"], abs=1e-12)
            assert row["weight"] >= 0
            assert row[other] is row[f"{other}_importance"] is row["similarity"] is None


def test_an_object_without_a_match_costs_all_that_rests_on_it() -> None:
    """Three equal objects against two of them: by hand."""
    target = three_objects()
    preds = dataclasses.replace(
        target,
        **{name: getattr(target, name)[:2] for name in ("features", "centers")},
        importance=torch.tensor([0.5, 0.5], dtype=torch.float64),
        relation=target.relation[:2, :2],
        confidence=target.confidence[:2, :2],
    )
    explanation = explanation_of(preds, target, MatchingConfig(image_weight=0.1))
    # The assignment by the target's importance has three fifths of the say, and leaves the third object out.
    assert explanation.loss == pytest.approx(0.9 * 3 / 5 * 0.25, abs=1e-12)
    torch.testing.assert_close(explanation.target_contributions, torch.tensor([0, 0, 0.135], dtype=torch.float64))
    assert explanation.preds_contributions.tolist() == [0, 0]
    assert explanation.to_rows(pieces=True)[0] == {
        "kind": "unmatched in target",
        "target": 2,
        "preds": None,
        "similarity": None,
        "weight": pytest.approx(0.135),
        "target_importance": 0.25,
        "preds_importance": None,
        "contribution": pytest.approx(0.135),
    }
    # The other way round, it is the object that was added which costs.
    turned = explanation_of(target, preds, MatchingConfig(image_weight=0.1))
    torch.testing.assert_close(turned.preds_contributions, explanation.target_contributions)
    torch.testing.assert_close(turned.target_contributions, torch.zeros(2, dtype=torch.float64))


def three_objects() -> SceneGraph:
    return SceneGraph(
        features=torch.eye(3, dtype=torch.float64),
        centers=torch.full((3, 2), 0.5, dtype=torch.float64),
        importance=torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64),
        relation=torch.full((3, 3), -1),
        confidence=torch.full((3, 3), -1.0, dtype=torch.float64),
        image_feature=torch.tensor([1.0, 0, 0], dtype=torch.float64),
    )


@laws
@given(graphs(), graphs())
def test_the_unmatched_are_those_that_the_assignments_leave_out(preds: SceneGraph, target: SceneGraph) -> None:
    from scipy.optimize import linear_sum_assignment

    match = match_graphs(preds, target, KNOWN)
    similarity = match.similarity.numpy()
    n, m = similarity.shape
    for axis, importance, unmatched in (
        (0, preds.importance, match.unmatched_a),
        (1, target.importance, match.unmatched_b),
    ):
        weights = importance.double().numpy()
        scaled = similarity * (weights[:, None] if axis == 0 else weights)
        found = linear_sum_assignment(scaled, maximize=True)[axis]
        left = np.setdiff1d(np.arange((n, m)[axis]), found)
        expected = (n, m)[axis] * weights[left].sum() / (n + m)
        # Only where two assignments are equally good may another object be left out.
        if len(np.unique(weights)) == len(weights):
            assert unmatched.sum().item() == pytest.approx(expected, abs=1e-9)
        assert (unmatched > 0).sum() == len(left)


def test_an_image_against_itself_loses_nothing() -> None:
    explanation = explain(IMAGES[0], IMAGES[0], stub_preset())
    assert explanation.loss == pytest.approx(0, abs=1e-6)
    assert all(abs(row["contribution"]) < 1e-6 for row in explanation.to_rows(pieces=True))


@pytest.mark.parametrize("matching", [MatchingConfig(), MatchingConfig(assignment="transport", slack=0.15)])
def test_it_explains_the_score_of_the_metric(matching: MatchingConfig) -> None:
    scorer = Scorer(stub_preset(matching=matching))
    explanation = explain(IMAGES[0], IMAGES[1], stub_preset(matching=matching))
    assert [explanation.score] == scorer(IMAGES[:1], IMAGES[1:])
    assert explanation.signature == scorer.signature()
    assert explanation.image_weight == matching.image_weight


def test_preds_and_target_keep_their_places() -> None:
    explanation = explain(IMAGES[0], IMAGES[1, :, :4], stub_preset())
    torch.testing.assert_close(explanation.preds_image, IMAGES[0])
    torch.testing.assert_close(explanation.target_image, IMAGES[1, :, :4])
    assert explanation.preds.masks is not None
    assert explanation.target.masks is not None
    assert explanation.preds.masks.shape[1:] == (8, 12)
    assert explanation.target.masks.shape[1:] == (4, 12)


def test_images_are_kept_at_the_size_that_their_masks_have() -> None:
    extractor = stub_extractor()
    extractor.max_width = 6
    explanation = explain(IMAGES[0], IMAGES[1], extractor=extractor, relation_similarity=torch.eye(56))
    assert explanation.preds.masks is not None
    assert explanation.preds_image.shape[1:] == explanation.preds.masks.shape[1:] == (4, 6)


def test_the_settings_of_the_metric_are_taken() -> None:
    extractor, table = stub_extractor(), torch.eye(56)
    matching = MatchingConfig(image_weight=0.5)
    explanation = explain(
        (IMAGES[:1] * 255).round(),
        (IMAGES[1:] * 255).round(),
        extractor=extractor,
        relation_similarity=table,
        matching=matching,
        data_range=(0, 255),
        device="cpu",
    )
    scorer = Scorer(extractor=extractor, relation_similarity=table, matching=matching, data_range=(0, 255))
    assert [explanation.score] == scorer((IMAGES[:1] * 255).round(), (IMAGES[1:] * 255).round())


def test_a_table_of_predicates_of_ones_own_takes_the_place_of_the_presets() -> None:
    settings: dict[str, Any] = {"preset": stub_preset(matching=MatchingConfig(beta=1.0))}
    table = torch.full((56, 56), -1.0)
    explanation = explain(IMAGES[0], IMAGES[1], **settings, relation_similarity=table)
    assert [explanation.score] == Scorer(**settings, relation_similarity=table)(IMAGES[:1], IMAGES[1:])
    assert explanation.score != explain(IMAGES[0], IMAGES[1], **settings).score


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (torch.rand(2, 3, 8, 8), "`preds` must be one image, .* got 2"),
        (torch.rand(5, 8, 8), "`preds.*` must have 3 channels"),
        (torch.rand(8), r"`preds.*` must be \[3, H, W\]"),
    ],
)
def test_one_image_is_asked_for(images: Tensor, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        explain(images, IMAGES[0], stub_preset())


def test_networks_stay_for_the_next_call_or_until_released() -> None:
    explain(IMAGES[0], IMAGES[1], stub_preset("explained"))
    built = len(BUILT)
    explain(IMAGES[1], IMAGES[0], stub_preset("explained"))
    assert len(BUILT) == built
    networks = weakref.ref(pooled_networks(stub_preset("explained"), torch.device("cpu")))
    release_networks()
    gc.collect()
    assert networks() is None


def test_a_metric_explains_its_own_score_and_keeps_no_other_networks() -> None:
    release_networks()
    metric = SemanticSimilarityScore(dataclasses.replace(stub_preset("own"), baseline=0.25), rescale="baseline")
    score = metric(IMAGES[:1], IMAGES[1:])
    explanation = metric.explain(IMAGES[0], IMAGES[1])
    assert explanation.score == pytest.approx(score.item(), abs=1e-7)
    assert explanation.signature == metric.signature
    assert metric.update_count == 1
    networks = weakref.ref(pooled_networks(stub_preset("own"), torch.device("cpu")))
    del metric
    gc.collect()
    assert networks() is None


@laws
@given(graphs(), graphs(), configs, st.sampled_from([0.5, 2.0]))
def test_weights_are_shares_whatever_stretches_the_score(
    preds: SceneGraph, target: SceneGraph, config: MatchingConfig, exponent: float
) -> None:
    plain = explanation_of(preds, target, config).to_rows(pieces=True)
    stretched = explanation_of(preds, target, dataclasses.replace(config, exponent=exponent))
    rows = stretched.to_rows(pieces=True)
    assert sum(row["weight"] for row in rows) == pytest.approx(1, abs=1e-9)
    assert sum(row["contribution"] for row in rows) == pytest.approx(stretched.loss, abs=1e-9)
    assert sorted(row["weight"] for row in rows) == sorted(row["weight"] for row in plain)


@pytest.mark.parametrize("baseline", [0.25, 0.99])
def test_the_terms_of_a_rescaled_score_sum_to_its_loss(baseline: float) -> None:
    preset = dataclasses.replace(stub_preset(), baseline=baseline)
    plain = explain(IMAGES[0], IMAGES[1], preset)
    assert 0.25 < plain.score < 0.99
    rescaled = explain(IMAGES[0], IMAGES[1], preset, rescale="baseline")
    assert [rescaled.score] == Scorer(preset, rescale="baseline")(IMAGES[:1], IMAGES[1:])
    assert rescaled.score == max(0.0, 1 - rescaled.loss) or rescaled.score == pytest.approx(1 - rescaled.loss)
    assert rescaled.loss == pytest.approx(plain.loss / (1 - baseline))
    assert sum(row["contribution"] for row in rescaled.to_rows(pieces=True)) == pytest.approx(rescaled.loss, abs=1e-9)
    assert sum(row["weight"] for row in rescaled.to_rows(pieces=True)) == pytest.approx(1, abs=1e-9)
    by_object = rescaled.target_contributions.sum() + rescaled.preds_contributions.sum()
    assert by_object + rescaled.image_contribution == pytest.approx(rescaled.loss, abs=1e-9)


class Elsewhere(SceneGraphExtractor):
    """An extractor whose networks are on the device ``meta``, as far as the images can tell."""

    def extract(self, images: list[Tensor], *, masks: bool = False, gradient: bool = False) -> list[SceneGraph]:
        assert {image.device.type for image in images} == {"meta"}
        # Nothing but its size is left of an image there.
        return stub_extractor().extract([UNLIKE[image.shape] for image in images], masks=masks)


UNLIKE = {image.shape: image for image in (stub_images(1)[0], stub_images(1, seed=1, size=(8, 16))[0])}


def test_images_are_brought_to_where_a_given_extractor_is() -> None:
    stub = stub_extractor()
    parts: dict[str, Any] = {
        "extractor": Elsewhere(stub.segmenter, stub.relation_model, stub.encoder),
        "relation_similarity": KNOWN,
    }
    preds, target = UNLIKE.values()
    explanation = explain(preds, target, **parts, device="meta")
    assert explanation.preds_image.device.type == "cpu"
    scorer = Scorer(**parts)
    assert scorer([preds], [target], "meta") == [explanation.score]


def test_a_metric_explains_by_a_given_extractor_wherever_the_metric_is() -> None:
    metric = SemanticSimilarityScore(extractor=stub_extractor(), relation_similarity=KNOWN)
    expected = metric.explain(*IMAGES).score
    assert metric.to("meta").explain(*IMAGES).score == expected
