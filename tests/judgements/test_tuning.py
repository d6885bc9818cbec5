"""Tuning finds what was planted, holds out what it says it holds out, and does not find what is not there."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from torchmetrics_sess.comparison import rank_correlation
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.importance import ImportanceConfig, saliency_under, weigh_objects
from torchmetrics_sess.judgements import VARIABLE, ChoiceTarget, RatingTarget, Trials, tune
from torchmetrics_sess.judgements.graphs import WeighedGraph
from torchmetrics_sess.judgements.trials import Settings
from torchmetrics_sess.matching import MatchingConfig, match_graph_pairs

ORIGINALS, RECONS = 30, 10
IMPORTANCE = ImportanceConfig(k1=1.0, k3=1.0, saliency="segmenter", threshold=1.0, floor=0.1, focus=2.5)
MATCHING = MatchingConfig(
    assignment="transport",
    slack=9.0,
    balance="lower",
    probability_center=0.4,
    probability_width=0.1,
    theta=0.0,
    iterations=0,
    image_weight=0.0,
)
PLANTED: Settings = {"matching.theta": 0.8, "matching.probability_center": 0.75}
VARIED = {name: VARIABLE[name] for name in ("matching.theta", "matching.probability_center")}


def weighed(features: np.ndarray, centers: np.ndarray, saliency: np.ndarray, masks: np.ndarray) -> WeighedGraph:
    unit = torch.nn.functional.normalize(torch.tensor(features, dtype=torch.float32), dim=1)
    places, looked_at = torch.tensor(masks, dtype=torch.float32), torch.tensor(saliency, dtype=torch.float32)
    confidence = torch.full((len(unit), len(unit)), -1.0)
    mass = saliency_under(places, looked_at, IMPORTANCE)
    graph = SceneGraph(
        unit,
        torch.tensor(centers, dtype=torch.float32),
        weigh_objects(mass, confidence, IMPORTANCE).float(),
        torch.full((len(unit), len(unit)), -1),
        confidence,
        torch.nn.functional.normalize(unit.mean(0), dim=0),
    )
    return WeighedGraph(graph, mass, places, looked_at)


def made_up(originals: int = ORIGINALS) -> tuple[dict[str, WeighedGraph], list[tuple[str, str]]]:
    """Make originals, and reconstructions whose objects change, move or are looked at less."""
    generator = np.random.default_rng(0)
    graphs: dict[str, WeighedGraph] = {}
    pairs = []
    for index in range(originals):
        features, centers = generator.standard_normal((5, 12)), generator.random((5, 2))
        saliency, masks = generator.random((4, 4)), generator.random((5, 4, 4))
        graphs[f"o{index}"] = weighed(features, centers, saliency, masks)
        for number in range(RECONS):
            damage, shift = generator.random((2, 5, 1)) ** 2
            changed = features + damage * generator.standard_normal((5, 12))
            moved = np.clip(centers + 0.5 * shift * generator.standard_normal((5, 2)), 0, 1)
            name = f"o{index}r{number}"
            graphs[name] = weighed(changed, moved, saliency, masks)
            pairs.append((name, f"o{index}"))
    return graphs, pairs


@pytest.fixture(scope="module")
def trials() -> Trials:
    graphs, pairs = made_up()
    return Trials(graphs, pairs, torch.eye(56), MATCHING, IMPORTANCE)


@pytest.fixture(scope="module")
def originals() -> list[str]:
    return [original for _, original in made_up()[1]]


def test_trials_score_as_matching_does(trials: Trials) -> None:
    graphs, pairs = made_up()
    varied: list[Settings] = [{}, {"matching.balance": "mean", "importance.threshold": 0.0, "importance.focus": 0.5}]
    for settings in varied:
        matching, importance = trials.configs(settings)
        again = {
            name: dataclasses.replace(
                each.graph,
                importance=weigh_objects(
                    saliency_under(each.memberships, each.saliency, importance), each.graph.confidence, importance
                ).float(),
            )
            for name, each in graphs.items()
            if each.memberships is not None and each.saliency is not None
        }
        chosen = pairs[:40]
        whole = match_graph_pairs([again[a] for a, _ in chosen], [again[b] for _, b in chosen], torch.eye(56), matching)
        assert trials.scores(settings, range(40)).tolist() == [result.score for result in whole]


def test_planted_settings_are_recovered(trials: Trials, originals: list[str]) -> None:
    generator = np.random.default_rng(1)
    truth = trials.scores(PLANTED)
    ranks = np.argsort(np.argsort(truth)) / len(truth)
    ratings = 1 + 4 * ranks + 0.4 * generator.standard_normal(len(truth))
    target = RatingTarget(range(len(truth)), ratings, originals)
    found = tune(trials, target, VARIED, budget=40, folds=2, resamples=200)
    # The planted settings' own agreement, on the same two folds.
    dealt = np.random.default_rng(0).permutation(ORIGINALS) % 2
    fold_of = dict(zip(sorted(set(originals)), dealt.tolist(), strict=True))
    fold = np.array([fold_of[original] for original in originals])
    own = np.mean([rank_correlation(truth[fold == k], ratings[fold == k]) for k in range(2)])
    assert found.gain.before < own - 0.05
    assert found.gain.after == pytest.approx(own, abs=0.01)
    assert found.gain.certain
    assert float(found.settings["matching.theta"]) > 0.5


def test_noise_gains_nothing() -> None:
    graphs, pairs = made_up(8)
    trials = Trials(graphs, pairs, torch.eye(56), MATCHING, IMPORTANCE)
    ratings = np.random.default_rng(1).integers(1, 6, len(pairs)).astype(float)
    target = RatingTarget(range(len(pairs)), ratings, [original for _, original in pairs])
    found = tune(trials, target, VARIED, budget=20, folds=2, resamples=100)
    assert found.fitted[1] >= found.fitted[0]
    assert not found.gain.certain


def test_choices_are_fitted_to_by_likelihood_and_the_same_seed_finds_the_same() -> None:
    generator = np.random.default_rng(2)
    graphs, pairs = made_up(8)
    trials = Trials(graphs, pairs, torch.eye(56), MATCHING, IMPORTANCE)
    truth = trials.scores(PLANTED)
    left = [index for index in range(len(truth)) if index % RECONS < RECONS - 1]
    right = [index + 1 for index in left]
    chance = 1 / (1 + np.exp(-(truth[right] - truth[left]) / (0.2 * truth.std())))
    shares = generator.binomial(9, chance) / 9
    target = ChoiceTarget(left, right, shares, [9] * len(left), [pairs[index][1] for index in left])
    found = tune(trials, target, VARIED, budget=20, folds=2, resamples=50)
    assert found.statistic == "log-likelihood"
    assert found.gain.certain
    assert found.fitted[1] > max(found.fitted[0], math.log(0.5))
    rows = np.arange(len(left))
    assert target.agreement(trials.scores(found.settings), rows) > target.agreement(trials.scores({}), rows)
    assert tune(trials, target, VARIED, budget=20, folds=2, resamples=50) == found


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ([], "there is no setting to vary"),
        (["matching.thta"], "unknown setting `matching.thta`; did you mean `matching.theta`"),
        (["matching.alpha"], "`matching.alpha` cannot be varied: it has no effect while `matching.iterations` is 0"),
        (["importance.k2"], "it has no effect while `importance.k3` is 1"),
        (["matching.exponent"], "a power changes no order"),
    ],
)
def test_settings_without_an_effect_are_refused(
    vary: list[str], message: str, trials: Trials, originals: list[str]
) -> None:
    target = RatingTarget(range(len(originals)), np.arange(len(originals)), originals)
    ranges = {name: VARIABLE.get(name, VARIABLE["matching.theta"]) for name in vary}
    with pytest.raises(ValueError, match=message):
        tune(trials, target, ranges)


def test_masks_that_are_not_kept_leave_the_roots_to_vary(originals: list[str]) -> None:
    graphs, pairs = made_up()
    bare = {name: WeighedGraph(each.graph, each.mass) for name, each in graphs.items()}
    trials = Trials(bare, pairs, torch.eye(56), MATCHING, IMPORTANCE)
    whole = Trials(graphs, pairs, torch.eye(56), MATCHING, IMPORTANCE)
    settings = {"importance.k1": 2.0}
    assert trials.scores(settings, range(20)).tolist() == whole.scores(settings, range(20)).tolist()
    with pytest.raises(ValueError, match="are not kept with the graphs"):
        trials.scores({"importance.focus": 1.0})
    target = RatingTarget(range(len(originals)), np.arange(len(originals)), originals)
    with pytest.raises(ValueError, match=r"`importance\.focus` cannot be varied"):
        tune(trials, target, {"importance.focus": VARIABLE["importance.focus"]})


def test_what_cannot_be_fitted_to_is_said(trials: Trials) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        RatingTarget([0, 1, 2], [1, math.nan, 3], ["a", "b", "c"])
    with pytest.raises(ValueError, match="three rated pairs are the fewest"):
        RatingTarget([0, 1], [1, 2], ["a", "b"])
    with pytest.raises(ValueError, match="all ratings are the same"):
        RatingTarget([0, 1, 2], [2, 2, 2], ["a", "b", "c"])
    with pytest.raises(ValueError, match="in no question did people prefer"):
        ChoiceTarget([0], [1], [0.5], [2], ["a"])
    with pytest.raises(ValueError, match="which takes 4 originals at least; these answers are about 1"):
        tune(trials, RatingTarget([0, 1, 2], [1, 2, 3], ["o0"] * 3))
    with pytest.raises(ValueError, match="`folds` must be at least 2"):
        tune(trials, RatingTarget([0, 1, 2], [1, 2, 3], ["a", "b", "c"]), folds=1)
