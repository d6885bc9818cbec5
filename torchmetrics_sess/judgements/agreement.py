"""How well numbers agree with people, how sure that is, and whether one metric agrees better than another.

All of it is resampled over reference images, not over judgements: those of one reference depend on each other, and a
statement about images should hold for other images.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchmetrics_sess.comparison import rank_correlation

Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """One way to say how well metrics agree with people.

    Args:
        name: what to call it.
        compute: gives the agreement of the values of a metric with those of people.
        values: what every metric says, by its name.
    """

    name: str
    compute: Callable[[Numbers, Numbers], float]
    values: Mapping[str, Numbers]


@dataclass(frozen=True)
class Agreement:
    """How well each metric agrees with people.

    Args:
        value: by metric.
        interval: the middle 95 % of the resamples, by metric.
        p_values: two-sided, that two metrics agree equally well, by their names; each pair occurs once.
    """

    value: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]
    p_values: Mapping[tuple[str, str], float]


def rating_statistics(values: Mapping[str, Numbers], human: Numbers) -> list[Statistic]:
    """Return Spearman's (SRCC), Kendall's (KRCC) and Pearson's (PLCC) correlation, the last after a logistic fit.

    Args:
        values: what every metric says of each pair; higher is more alike.
        human: mean rating of each pair; higher is more alike.
    """
    fitted = {name: logistic_fit(found, human) for name, found in values.items()}
    return [
        Statistic("SRCC", rank_correlation, values),
        Statistic("KRCC", kendall, values),
        Statistic("PLCC", pearson, fitted),
    ]


def choice_statistics(left: Mapping[str, Numbers], right: Mapping[str, Numbers]) -> list[Statistic]:
    """Return the two-alternative forced-choice (2AFC) score: how many people choose as the metric does, on average.

    Where people are unanimous, it is the accuracy of the metric. Equal values count as half a choice of either.

    Args:
        left: what every metric says of each (reference, left); higher is more alike.
        right: likewise of (reference, right).
    """
    chosen = {name: (np.sign(right[name] - left[name]) + 1) / 2 for name in left}
    return [Statistic("2AFC", forced_choice, chosen)]


def agreement(
    statistic: Statistic, human: Numbers, references: Sequence[Hashable], *, resamples: int = 1000, seed: int = 0
) -> Agreement:
    """Compute a statistic for every metric, with bootstrap intervals and paired tests.

    The reference images are drawn anew with replacement, with all judgements of each, the same for every metric
    (a paired cluster bootstrap; Efron & Tibshirani, 1993). Intervals are percentile intervals. The p-value of two
    metrics is twice the share of the resamples in which the difference of their statistics has not the sign of most,
    counting the sample itself as one resample, so it is never below 2 / (resamples + 1). It is not corrected for the
    number of comparisons.

    Args:
        statistic: which, and what every metric says.
        human: what people say.
        references: the image that each judgement is about.
        resamples: how often to draw.
        seed: of the random numbers.
    """
    names = list(statistic.values)
    drawn = np.array(
        [
            [statistic.compute(statistic.values[name][chosen], human[chosen]) for name in names]
            for chosen in resamples_of(references, resamples, seed)
        ]
    )
    return Agreement(
        value={name: statistic.compute(found, human) for name, found in statistic.values.items()},
        interval={name: interval_of(drawn[:, i]) for i, name in enumerate(names)},
        p_values={
            (names[i], names[j]): _p_value(drawn[:, i] - drawn[:, j]) for i in range(len(names)) for j in range(i)
        },
    )


def logistic_fit(values: Numbers, human: Numbers) -> Numbers:
    """Map values onto the scale of people by the curve of ``logistic_curve``.

    That is what VQEG does before it takes Pearson's correlation: how a metric spreads its values is not held against
    it.

    Args:
        values: of a metric.
        human: ratings.
    """
    return logistic_curve(values, human)(values)


def logistic_curve(values: Numbers, human: Numbers) -> Callable[[Numbers], Numbers]:
    """Return the increasing logistic curve with four parameters that fits best.

    Infinite values, such as the PSNR of equal images, count as the nearest finite ones of those fitted. Where no curve
    can be fitted, the values stay as they are.

    Args:
        values: of a metric.
        human: ratings.
    """
    from scipy.optimize import least_squares

    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return np.zeros_like
    low, high = finite.min(), finite.max()
    clipped = np.clip(values, low, high)
    if np.ptp(clipped) == 0 or np.ptp(human) == 0:
        return lambda found: np.clip(found, low, high)
    middle, spread = clipped.mean(), clipped.std()
    x = (clipped - middle) / spread
    # A curve without any rise would leave a metric that disagrees with people without a correlation.
    least = 1e-6 * np.ptp(human)
    best = least_squares(
        lambda curve: _logistic(x, *curve) - human,
        x0=(human.min(), np.ptp(human), 0.0, 1.0),
        bounds=([-np.inf, least, -np.inf, 1e-3], np.inf),
        max_nfev=1000,
    )
    if not best.success:
        return lambda found: np.clip(found, low, high)
    return lambda found: _logistic((np.clip(found, low, high) - middle) / spread, *best.x)


def pearson(values: Numbers, human: Numbers) -> float:
    """Return Pearson's correlation; NaN if either is constant."""
    if np.ptp(values) == 0 or np.ptp(human) == 0:
        return float("nan")
    return float(np.corrcoef(values, human)[0, 1])


def kendall(values: Numbers, human: Numbers) -> float:
    """Return Kendall's rank correlation, variant b; NaN if either is constant."""
    from scipy.stats import kendalltau

    return float(kendalltau(values, human).statistic)


def forced_choice(chosen: Numbers, human: Numbers) -> float:
    """Return the mean share of people who choose as the metric does: 1 is right, 0 is left."""
    return float(np.mean(chosen * human + (1 - chosen) * (1 - human)))


def _logistic(x: Numbers, low: float, span: float, middle: float, width: float) -> Numbers:
    from scipy.special import expit

    return np.asarray(low + span * expit((x - middle) / width))


def resamples_of(references: Sequence[Hashable], resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw reference images anew, with replacement: yields the indices of all judgements of those drawn."""
    members: dict[Hashable, list[int]] = {}
    for index, reference in enumerate(references):
        members.setdefault(reference, []).append(index)
    groups = [np.array(group) for group in members.values()]
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.concatenate([groups[group] for group in generator.integers(len(groups), size=len(groups))])


def interval_of(drawn: Numbers) -> tuple[float, float]:
    """Return the middle 95 % of what was drawn, NaN left out."""
    # A resample in which nothing varies has no correlation.
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _p_value(differences: Numbers) -> float:
    differences = differences[~np.isnan(differences)]
    if len(differences) == 0:
        return float("nan")
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
