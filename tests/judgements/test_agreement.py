"""How well numbers agree with people: statistics against scipy's, fits, intervals and tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from torchmetrics_sess.judgements.agreement import (
    Statistic,
    agreement,
    choice_statistics,
    logistic_fit,
    pearson,
    rating_statistics,
)


@given(seed=st.integers(0, 10_000), count=st.integers(5, 40), ties=st.booleans())
@settings(derandomize=True, max_examples=25, deadline=None)
def test_rank_statistics_are_those_of_scipy(seed: int, count: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    human, values = generator.standard_normal(count), generator.standard_normal(count)
    if ties:
        human, values = human.round(), values.round()
        human[0], values[0] = 9, -9
    by_name = {each.name: each.compute(each.values["m"], human) for each in rating_statistics({"m": values}, human)}
    assert by_name["SRCC"] == pytest.approx(spearmanr(values, human).statistic)
    assert by_name["KRCC"] == pytest.approx(kendalltau(values, human).statistic)
    assert -1 - 1e-9 <= by_name["PLCC"] <= 1 + 1e-9 or math.isnan(by_name["PLCC"])


def test_the_fit_takes_a_bend_out_but_never_turns_a_metric_round() -> None:
    values = np.linspace(20, 50, 60)
    human = 1 + 8 / (1 + np.exp(-(values - 33) / 2))
    assert pearson(values, human) < 0.95
    fitted = logistic_fit(values, human)
    assert pearson(fitted, human) == pytest.approx(1, abs=1e-6)
    assert fitted == pytest.approx(human, abs=1e-2)
    turned = logistic_fit(values, -human)
    assert (np.diff(turned) >= 0).all()
    assert pearson(turned, -human) < -0.5
    infinite = np.append(values, np.inf)
    assert np.isfinite(logistic_fit(infinite, np.append(human, 9))).all()
    assert logistic_fit(np.full(3, np.inf), np.arange(3.0)).tolist() == [0, 0, 0]
    assert logistic_fit(np.ones(3), np.arange(3.0)).tolist() == [1, 1, 1]
    assert math.isnan(pearson(np.ones(3), np.arange(3.0)))


def test_a_choice_counts_as_many_people_as_make_it() -> None:
    human = np.array([1.0, 0.25, 0.5, 1.0])
    left, right = np.array([0.1, 0.1, 0.9, 0.5]), np.array([0.2, 0.0, 0.1, 0.5])
    (statistic,) = choice_statistics({"m": left}, {"m": right})
    assert statistic.compute(statistic.values["m"], human) == pytest.approx((1 + 0.75 + 0.5 + 0.5) / 4)


def mean_product(values: np.ndarray, human: np.ndarray) -> float:
    return float((values * human).mean())


def test_intervals_and_p_values_come_from_whole_references() -> None:
    generator = np.random.default_rng(0)
    human = generator.standard_normal(200)
    references = [index // 4 for index in range(200)]
    good, worse = human + 0.2 * generator.standard_normal(200), human + 2 * generator.standard_normal(200)
    statistics = rating_statistics({"good": good, "worse": worse, "same": good}, human)
    found = agreement(statistics[0], human, references, resamples=300)
    for name, (low, high) in found.interval.items():
        assert low < found.value[name] < high
    assert found.interval["good"] == found.interval["same"]
    assert found.p_values["same", "good"] == 1
    assert found.p_values["worse", "good"] == pytest.approx(2 / 301)
    assert agreement(statistics[0], human, references, resamples=300) == found
    assert agreement(statistics[0], human, references, resamples=300, seed=1) != found

    # What cannot be told of one metric does not touch the others.
    flat = agreement(Statistic("PLCC", pearson, {"good": good, "flat": np.ones(200)}), human, references, resamples=50)
    assert math.isnan(flat.value["flat"])
    assert math.isnan(flat.interval["flat"][0])
    assert math.isnan(flat.p_values["flat", "good"])
    assert flat.interval["good"][0] > 0.9

    # All judgements of one reference: nothing to draw anew.
    one = agreement(statistics[0], human, ["only"] * 200, resamples=20)
    assert one.interval["good"] == pytest.approx((one.value["good"],) * 2)
    # Judgements that are repeated tell nothing new: the intervals stay.
    statistic = Statistic("mean product", mean_product, {"good": good})
    doubled = Statistic("mean product", mean_product, {"good": np.repeat(good, 2)})
    assert agreement(doubled, np.repeat(human, 2), np.repeat(references, 2).tolist(), resamples=50).interval[
        "good"
    ] == pytest.approx(agreement(statistic, human, references, resamples=50).interval["good"])
