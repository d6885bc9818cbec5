import dataclasses
from pathlib import Path
from typing import Any, cast

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_extractor import BUILT, stub_extractor, stub_images, stub_preset

from torchmetrics_sess.functional import semantic_similarity_score
from torchmetrics_sess.matching import MatchingConfig, match_graphs
from torchmetrics_sess.matching.relation_similarity import minilm_relation_similarity
from torchmetrics_sess.metric import SemanticSimilarityScore
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.scoring import Reduction, rescale_score

PREDS, TARGET = stub_images(5, seed=1), stub_images(5, seed=2)


def reference(config: MatchingConfig | None = None) -> list[float]:
    """Score one pair after the other by the public parts."""
    extractor, known = stub_extractor(), minilm_relation_similarity()
    extractor.importance = stub_preset().importance
    return [
        match_graphs(extractor([pred])[0], extractor([target])[0], known, config or MatchingConfig()).score
        for pred, target in zip(PREDS, TARGET, strict=True)
    ]


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5, 100])
def test_scores_are_those_of_single_pairs(batch_size: int | None) -> None:
    scores = semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction="none", batch_size=batch_size)
    np.testing.assert_allclose(scores, reference(), atol=1e-6)
    assert scores.std() > 0.01, "images alike would make this test blind"


def test_reductions() -> None:
    expected = reference()
    mean = semantic_similarity_score(PREDS, TARGET, stub_preset())
    with pytest.warns(FutureWarning, match="`return_std` is deprecated"):
        _, std = semantic_similarity_score(PREDS, TARGET, stub_preset(), return_std=True)
    assert mean.item() == pytest.approx(np.mean(expected), abs=1e-6)
    assert std.item() == pytest.approx(np.std(expected), abs=1e-6)
    total = semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction="sum")
    assert total.item() == pytest.approx(np.sum(expected), abs=1e-6)
    assert mean.shape == std.shape == total.shape == ()
    assert torch.equal(
        semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction=None),
        semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction="none"),
    )


def test_one_pair_has_no_spread() -> None:
    with pytest.warns(FutureWarning, match="`return_std` is deprecated"):
        score, std = semantic_similarity_score(PREDS[:1], TARGET[:1], stub_preset(), reduction="none", return_std=True)
    assert score.shape == (1,)
    assert std == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_agrees_with_the_metric(reduction: Reduction) -> None:
    score = semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction=reduction)
    assert torch.equal(score, SemanticSimilarityScore(stub_preset(), reduction=reduction)(PREDS, TARGET))


def test_networks_stay_for_the_next_call() -> None:
    BUILT.clear()
    for _ in range(3):
        semantic_similarity_score(PREDS[:1], TARGET[:1], stub_preset("kept"))
        semantic_similarity_score(PREDS[:1], TARGET[:1], stub_preset("kept too"))
    assert len(BUILT) == 2


def test_parts_in_place_of_a_preset() -> None:
    config = MatchingConfig(update_order="synchronous", beta=0.3)
    preset = stub_preset()
    other = dataclasses.replace(preset, matching=config)
    of_preset = semantic_similarity_score(PREDS, TARGET, other, reduction="none")
    np.testing.assert_allclose(of_preset, reference(config), atol=1e-6)
    extractor = preset.build(torch.device("cpu"))
    known = minilm_relation_similarity()
    of_parts = semantic_similarity_score(
        PREDS, TARGET, extractor=extractor, relation_similarity=known, matching=config, reduction="none"
    )
    assert torch.equal(of_parts, of_preset)
    of_other_table = semantic_similarity_score(PREDS, TARGET, other, relation_similarity=known / 2, reduction="none")
    assert (of_other_table < of_preset).all()


def test_images_of_other_ranges_types_and_sizes() -> None:
    score = semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction="none")
    scaled = semantic_similarity_score(
        2 * PREDS - 1, 2 * TARGET - 1, stub_preset(), reduction="none", data_range=(-1, 1)
    )
    torch.testing.assert_close(scaled, score, rtol=0, atol=1e-5)
    as_bytes = (PREDS * 255).round().byte(), (TARGET * 255).round().byte()
    torch.testing.assert_close(
        semantic_similarity_score(*as_bytes, stub_preset(), reduction="none"), score, rtol=0, atol=0.02
    )
    mixed = [PREDS[0], PREDS[1, :1], PREDS[2, 0], torch.nn.functional.interpolate(PREDS[3:4], (20, 14))[0]]
    scores = semantic_similarity_score(mixed, TARGET[:4], stub_preset(), reduction="none")
    assert scores[0] == score[0]
    assert scores.isfinite().all()


def with_baseline(baseline: float | None) -> Preset:
    return dataclasses.replace(stub_preset(), baseline=baseline)


def test_rescaling_spreads_scores_between_the_baseline_and_one() -> None:
    plain = semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction="none")
    # Below some of the scores, and above others.
    baseline = plain.median().item() - 1e-3
    preds, target = torch.cat([PREDS, TARGET]), torch.cat([TARGET, TARGET])
    preset = with_baseline(baseline)
    off = semantic_similarity_score(preds, target, preset, reduction="none")
    assert torch.equal(off[: len(plain)], plain), "it is off by default"
    scores = semantic_similarity_score(preds, target, preset, reduction="none", rescale="baseline")
    torch.testing.assert_close(scores, ((off - baseline) / (1 - baseline)).clamp(0, 1), rtol=0, atol=1e-6)
    # Identical images.
    torch.testing.assert_close(scores[len(plain) :], torch.ones(len(plain)), rtol=0, atol=1e-6)
    assert scores.min() == 0
    assert 0 < scores[: len(plain)].max() < 1
    of_metric = SemanticSimilarityScore(preset, rescale="baseline")
    assert torch.equal(of_metric(preds, target), scores.double().mean().float())
    assert not torch.equal(scores.mean(), off.mean())


@settings(derandomize=True, deadline=None, max_examples=100)
@given(scores=st.tuples(*[st.floats(-0.5, 1.0)] * 2), baseline=st.floats(0, 0.99))
def test_rescaling_keeps_order_and_range(scores: tuple[float, float], baseline: float) -> None:
    low, high = (rescale_score(score, baseline) for score in sorted(scores))
    assert 0 <= low <= high <= 1
    assert rescale_score(1.0, baseline) == 1
    assert rescale_score(baseline, baseline) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": stub_preset()}, "none was measured for the preset 'stub'"),
        ({"preset": "reference"}, "none was measured for the preset 'reference'"),
        ({"overrides": {"matching.beta": 0.1}}, "that of 'lite' was measured without your changes"),
        ({"relation_similarity": torch.eye(56)}, "that of 'lite' was measured with its own `relation_similarity`"),
        ({"extractor": stub_extractor(), "relation_similarity": torch.eye(56)}, "an `extractor` of your own has no"),
    ],
)
def test_no_baseline_no_rescaling(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"`rescale='baseline'` needs .* but {message}.*calibration/baseline.py"):
        SemanticSimilarityScore(**arguments, rescale="baseline")
    assert not SemanticSimilarityScore(**arguments).signature.count("rescale")


@pytest.mark.parametrize(
    "arguments",
    [
        {"overrides": {"matching.beta": 0.1, "baseline": 0.2}},
        {"overrides": {"baseline": 0.2}, "relation_similarity": torch.eye(56)},
        {"overrides": {"baseline": 0.2}, "preset": "reference"},
        {"preset": with_baseline(0.2)},
    ],
)
def test_a_baseline_of_ones_own(arguments: dict[str, Any]) -> None:
    assert "|rescale:baseline0.2|" in SemanticSimilarityScore(**arguments, rescale="baseline").signature


def test_an_unknown_scale_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="`rescale` must be 'baseline' or None, got 'percent'"):
        semantic_similarity_score(PREDS, TARGET, stub_preset(), rescale=cast(Any, "percent"))


def test_gradients_end_here() -> None:
    score = semantic_similarity_score(PREDS.clone().requires_grad_(), TARGET, stub_preset())
    assert not score.requires_grad
    assert SemanticSimilarityScore.is_differentiable is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data_range": (0.0, 0.5, 1.0)}, r"`data_range` must be two finite numbers.*got \(0.0, 0.5, 1.0\)"),
        ({"data_range": (float("nan"), 1.0)}, r"`data_range` must be two finite numbers.*got \(nan, 1.0\)"),
        ({"data_range": (1.0, 0.0)}, "`data_range` must be two finite numbers, the lower first"),
        ({"batch_size": 0}, "`batch_size` must be at least 1 or None, got 0"),
        ({"extractor": stub_extractor()}, "`extractor` needs `relation_similarity`"),
        (
            {"extractor": stub_extractor(), "relation_similarity": torch.eye(56), "preset": "reference"},
            "pass no `preset` or `overrides`",
        ),
        ({"preset": stub_preset(), "overrides": {"matching.beta": 0.1}}, "`overrides` change a preset as it is loaded"),
        ({"preset": "light"}, "unknown preset 'light'"),
        ({"preset": Path("missing.yaml")}, "missing.yaml"),
        ({"overrides": {"matching.iteration": 3}}, "did you mean `matching.iterations`"),
        ({"preset": stub_preset(), "target": TARGET[:2]}, "equally many images.*got 5 and 2"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"preds": PREDS, "target": TARGET, **arguments}
    with pytest.raises(ValueError, match=message):
        semantic_similarity_score(**given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data_range": 1.0}, r"`data_range` must be two finite numbers, .* such as \(0.0, 1.0\), got 1.0"),
        ({"overrides": ["matching.beta"]}, "`overrides` must map settings to values, got .* \\(list\\)"),
    ],
)
def test_arguments_of_wrong_types_are_named(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match=message):
        semantic_similarity_score(PREDS, TARGET, **arguments)


def test_an_unknown_reduction_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="`reduction` must be 'mean', 'sum', 'none' or None, got 'median'"):
        semantic_similarity_score(PREDS, TARGET, stub_preset(), reduction=cast(Any, "median"))
