"""Settings of matching and importance, fitted to what people said, and what that gains where nothing was fitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from torchmetrics_sess.comparison import rank_correlation
from torchmetrics_sess.judgements.agreement import forced_choice, interval_of, resamples_of
from torchmetrics_sess.judgements.trials import VARIABLE, Numbers, Range, Settings, Trials

Rows: TypeAlias = NDArray[np.int64]
Given: TypeAlias = Sequence[float] | Sequence[int] | NDArray[Any]

# The fewest originals of which a fifth can be held out and still ordered.
_FEWEST_ORIGINALS = 4
_LARGEST_SCALE, _SMALLEST_SCALE = 1e2, 1e-4


@runtime_checkable
class Target(Protocol):
    """What people said, as an optimiser needs it: rows that settings are fitted to, each about some pairs.

    Attributes:
        originals: the original that each row is about.
        pairs: the pairs that each row is about, ``[rows, 1]`` or ``[rows, 2]``.
        statistic: what ``value`` is called.
    """

    originals: Sequence[str]
    pairs: NDArray[np.int64]
    statistic: str

    def fit(self, scores: Numbers, rows: Rows) -> float:
        """Fit what stands between scores and answers, and is no setting of the metric, on some rows."""
        ...

    def value(self, scores: Numbers, rows: Rows, fitted: float) -> float:
        """Return how well scores agree with people on some rows, greater is better; NaN if that cannot be told."""
        ...


class RatingTarget:
    """Mean ratings of pairs: scores are to order the pairs as people do (Spearman's rank correlation).

    Args:
        pairs: the number of the pair of every rating.
        ratings: mean ratings.
        originals: the original of every rating.

    Raises:
        ValueError: if there are fewer than three ratings, they are all the same, or one is no finite number.
    """

    statistic: str = "SRCC"

    def __init__(self, pairs: Given, ratings: Given, originals: Sequence[str]) -> None:
        self.pairs: NDArray[np.int64] = np.array(pairs, dtype=np.int64).reshape(-1, 1)
        self.originals: Sequence[str] = list(originals)
        self._ratings = np.array(ratings, dtype=np.float64)
        if not np.isfinite(self._ratings).all():
            raise ValueError("`ratings` must be finite, got NaN or infinity")
        if len(self._ratings) < 3:
            raise ValueError(f"three rated pairs are the fewest that can be ordered, got {len(self._ratings)}")
        if np.ptp(self._ratings) == 0:
            raise ValueError("all ratings are the same: there is no order that settings could be fitted to")

    def fit(self, scores: Numbers, rows: Rows) -> float:
        """Return 1: ranks need no scale."""
        return 1.0

    def value(self, scores: Numbers, rows: Rows, fitted: float) -> float:
        """Return the rank correlation."""
        return rank_correlation(scores[self.pairs[rows, 0]], self._ratings[rows])


class ChoiceTarget:
    """Choices between two reconstructions: the better one's score is to be higher, the more so the surer people are.

    The right one is taken to be chosen with probability ``1 / (1 + exp(-(score right - score left) / scale))``, with
    the ``scale`` at which the choices are likeliest. The value is the mean log-likelihood of a vote; guessing has
    -.693.

    Args:
        left: the number of the pair on the left.
        right: of that on the right.
        shares: the share of people who chose the right one; those who found both equal count half.
        votes: how many people there were.
        originals: the original of every question.

    Raises:
        ValueError: if there is no question, or nobody ever preferred one of two.
    """

    statistic: str = "log-likelihood"

    def __init__(
        self,
        left: Given,
        right: Given,
        shares: Given,
        votes: Given,
        originals: Sequence[str],
    ) -> None:
        self.pairs: NDArray[np.int64] = np.stack(
            [np.array(left, dtype=np.int64), np.array(right, dtype=np.int64)], axis=1
        )
        self.originals: Sequence[str] = list(originals)
        self._shares = np.array(shares, dtype=np.float64)
        self._votes = np.array(votes, dtype=np.float64)
        if not np.isfinite(self._shares).all():
            raise ValueError("`shares` must be finite, got NaN or infinity")
        if len(self._shares) == 0 or (self._shares == 0.5).all():
            raise ValueError("in no question did people prefer one of two: there is nothing to fit settings to")

    def fit(self, scores: Numbers, rows: Rows) -> float:
        """Return the scale at which the choices are likeliest."""
        from scipy.optimize import minimize_scalar

        found = minimize_scalar(
            lambda log_scale: -self.value(scores, rows, math.exp(log_scale)),
            bounds=(math.log(_SMALLEST_SCALE), math.log(_LARGEST_SCALE)),
            method="bounded",
            options={"xatol": 1e-3},
        )
        return math.exp(found.x)

    def value(self, scores: Numbers, rows: Rows, fitted: float) -> float:
        """Return the mean log-likelihood of a vote."""
        difference = (scores[self.pairs[rows, 1]] - scores[self.pairs[rows, 0]]) / fitted
        # log(1 + exp(-x)), without overflow.
        loss = np.logaddexp(0, -difference) * self._shares[rows] + np.logaddexp(0, difference) * (
            1 - self._shares[rows]
        )
        return -float((loss * self._votes[rows]).sum() / self._votes[rows].sum())

    def agreement(self, scores: Numbers, rows: Rows) -> float:
        """Return how many people choose as the scores do (2AFC)."""
        chosen = (np.sign(scores[self.pairs[rows, 1]] - scores[self.pairs[rows, 0]]) + 1) / 2
        return forced_choice(chosen, self._shares[rows])


@dataclass(frozen=True)
class Gain:
    """What tuning gains on originals that it did not see, averaged over the folds of a cross-validation.

    Args:
        before: the statistic with the settings to start from.
        after: with those that were fitted without the fold.
        value: the difference.
        interval: its middle 95 % when the originals of every fold are drawn anew.
    """

    before: float
    after: float
    value: float
    interval: tuple[float, float]

    @property
    def certain(self) -> bool:
        """Whether the interval lies above 0."""
        return self.interval[0] > 0


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Args:
        settings: the settings that agree best with all answers, by dotted name.
        start: what they were before.
        statistic: what was made as great as possible.
        fitted: the statistic with ``start`` and with ``settings``, on all answers, which are those that these were
            fitted to.
        gain: what that is worth elsewhere.
        folds: the settings that were found without each fold: what differs between them is not well determined.
        trials: how many settings were tried, in all.
    """

    settings: Settings
    start: Settings
    statistic: str
    fitted: tuple[float, float]
    gain: Gain
    folds: Sequence[Settings]
    trials: int


@dataclass
class _Search:
    """Looks for the settings whose scores agree best with people, and remembers those of all pairs that it has seen."""

    trials: Trials
    target: Target
    ranges: Mapping[str, Range]
    budget: int
    seed: int
    progress: Callable[[], None]
    seen: dict[tuple[float | int | str, ...], Numbers] = field(default_factory=dict)
    tried: int = 0

    def best(self, rows: Rows) -> dict[str, float | int | str]:
        """Return the settings that agree best on some rows."""
        from scipy.optimize import differential_evolution

        needed = np.unique(self.target.pairs[rows])
        start = self.trials.start()
        ranges = list(self.ranges.values())
        first = _population(
            ranges, [self.ranges[name].place(start[name]) for name in self.ranges], self.budget, self.seed
        )
        generations = max(1, self.budget // len(first) - 1)

        def loss(places: NDArray[np.float64]) -> float:
            scores = self.scores([each.value(place) for each, place in zip(ranges, places, strict=True)], needed)
            value = self.target.value(scores, rows, self.target.fit(scores, rows))
            # Settings that give all pairs one score order nothing.
            return math.inf if math.isnan(value) else -value

        found = differential_evolution(
            loss,
            [each.bounds for each in ranges],
            init=first,
            maxiter=generations,
            tol=0,
            polish=False,
            integrality=[each.integral for each in ranges],
            seed=np.random.default_rng(self.seed),
        )
        return {name: each.value(place) for (name, each), place in zip(self.ranges.items(), found.x, strict=True)}

    def scores(self, values: Sequence[float | int | str], needed: Rows) -> Numbers:
        """Return the scores of some pairs, NaN for those that were not needed."""
        self.tried += 1
        self.progress()
        key = tuple(values)
        known = self.seen.get(key)
        lacking = needed if known is None else needed[np.isnan(known[needed])]
        if known is None:
            known = np.full(len(self.trials), math.nan)
            self.seen[key] = known
        if len(lacking):
            known[lacking] = self.trials.scores(dict(zip(self.ranges, values, strict=True)), lacking.tolist())
        return known


def tune(
    trials: Trials,
    target: Target,
    vary: Mapping[str, Range] | None = None,
    *,
    budget: int = 500,
    folds: int = 5,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> Tuned:
    """Fit settings to what people said, and measure by nested cross-validation what that gains.

    The originals are dealt into ``folds``; for each of them, settings are fitted to the answers about all other
    originals, and compared with the settings to start from on those about the fold. The settings returned are fitted to
    all answers. Settings are searched for by differential evolution (Storn & Price, 1997), as scipy has it.

    Args:
        trials: the pairs, and the settings to start from.
        target: what people said of them.
        vary: what to vary, by dotted name, and between what; by default, ``default_settings(trials, target)``.
        budget: how many settings to try for each of the ``folds + 1`` fits.
        folds: into how many parts to deal the originals; fewer if there are not as many originals.
        resamples: how often to draw originals for the interval of the gain.
        seed: of all random numbers; the same seed gives the same settings.
        progress: called once for every trial.

    Raises:
        ValueError: for a setting that is unknown, cannot be varied, or has no effect with these settings; for fewer
            than four originals; or if ``folds`` is below 2 or ``budget`` below 20.
    """
    originals = sorted(set(target.originals))
    if folds < 2:
        raise ValueError(f"`folds` must be at least 2, got {folds}")
    if budget < 20:
        raise ValueError(f"`budget` must be at least 20, got {budget}")
    if len(originals) < _FEWEST_ORIGINALS:
        raise ValueError(
            f"settings are tested on originals that they were not fitted to, which takes {_FEWEST_ORIGINALS} originals "
            f"at least; these answers are about {len(originals)}"
        )
    ranges = {name: VARIABLE[name] for name in default_settings(trials, target)} if vary is None else dict(vary)
    check_settings(trials, target, ranges)
    search = _Search(trials, target, ranges, budget, seed, progress or (lambda: None))
    start = {name: trials.start()[name] for name in ranges}
    everything = np.arange(len(target.originals))
    before = trials.scores({})

    dealt = np.random.default_rng(seed).permutation(len(originals)) % min(folds, len(originals) // 2)
    fold_of = dict(zip(originals, dealt.tolist(), strict=True))
    fold = np.array([fold_of[original] for original in target.originals])
    held: list[_HeldOut] = []
    found = []
    for number in range(int(dealt.max()) + 1):
        rest, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        settings = search.best(rest)
        found.append(settings)
        after = search.scores([settings[name] for name in ranges], np.unique(target.pairs))
        held.append(_HeldOut(target, out, before, after, target.fit(before, rest), target.fit(after, rest)))
    settings = search.best(everything)
    scores = search.scores([settings[name] for name in ranges], np.unique(target.pairs))
    first, last = (target.value(each, everything, target.fit(each, everything)) for each in (before, scores))
    gain = _gain(held, resamples, seed)
    return Tuned(settings, start, target.statistic, (first, last), gain, found, search.tried)


def default_settings(trials: Trials, target: Target) -> list[str]:
    """Return what is varied if nothing is named: all that has an effect, but for ``iterations``, which are costly."""
    return [
        name
        for name in trials.start()
        if name != "matching.iterations" and _why_not(name, trials, target, {name}) is None
    ]


def check_settings(trials: Trials, target: Target, ranges: Mapping[str, Range]) -> None:
    """Check that settings can be varied.

    Raises:
        ValueError: if there is none, or one is unknown, cannot be varied, or has no effect; the message says why.
    """
    if not ranges:
        raise ValueError("there is no setting to vary")
    start = trials.start()
    for name in ranges:
        if name not in VARIABLE:
            from torchmetrics_sess.config import nearest

            raise ValueError(f"unknown setting `{name}`{nearest(name, VARIABLE)}")
        if name not in start:
            raise ValueError(f"`{name}` has no value in this preset, so that there is nothing to start from")
        if reason := _why_not(name, trials, target, set(ranges)):
            raise ValueError(f"`{name}` cannot be varied: {reason}")


def _why_not(name: str, trials: Trials, target: Target, varied: set[str]) -> str | None:
    """Return why varying a setting would change nothing, if it would not."""
    matching, importance = trials.matching, trials.importance
    idle = matching.iterations == 0 and "matching.iterations" not in varied
    if name in ("matching.alpha", "matching.beta") and idle:
        return "it has no effect while `matching.iterations` is 0"
    if name in ("matching.slack", "matching.balance") and matching.assignment == "one_to_one":
        return "it has no effect while `matching.assignment` is one_to_one"
    if name == "matching.probability_width" and matching.probability_center is None:
        return "it has no effect while `matching.probability_center` is null"
    if name == "importance.k2" and importance.k3 == 1 and "importance.k3" not in varied:
        return "it has no effect while `importance.k3` is 1"
    if name == "matching.exponent" and target.statistic == "SRCC":
        return "a power changes no order, so that ratings say nothing about it"
    if name in ("importance.threshold", "importance.floor", "importance.focus") and not trials.maps_kept:
        return "the masks of this preset are as large as its images, and are not kept with the graphs"
    return None


def _population(ranges: Sequence[Range], start: Sequence[float], budget: int, seed: int) -> NDArray[np.float64]:
    """Return the settings that a search begins with: a Latin hypercube around the start, the start itself first."""
    count = max(8, min(5 * len(ranges), budget // 10))
    generator = np.random.default_rng(seed)
    columns = []
    for each, own in zip(ranges, start, strict=True):
        low, high = each.bounds
        column = low + (high - low) * (generator.permutation(count) + generator.random(count)) / count
        column[0] = own
        columns.append(column)
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _HeldOut:
    """The answers about the originals of a fold, and what scores were before and after."""

    target: Target
    rows: Rows
    before: Numbers
    after: Numbers
    scale_before: float
    scale_after: float

    def values(self, chosen: Rows) -> tuple[float, float]:
        rows = self.rows[chosen]
        return (
            self.target.value(self.before, rows, self.scale_before),
            self.target.value(self.after, rows, self.scale_after),
        )


def _gain(held: Sequence[_HeldOut], resamples: int, seed: int) -> Gain:
    before, after = np.nanmean([fold.values(np.arange(len(fold.rows))) for fold in held], axis=0)
    drawn = np.full((len(held), resamples), math.nan)
    for index, fold in enumerate(held):
        originals = [fold.target.originals[row] for row in fold.rows]
        for draw, chosen in enumerate(resamples_of(originals, resamples, seed + index)):
            low, high = fold.values(chosen)
            drawn[index, draw] = high - low
    # A resample in which all ratings of a fold are equal orders nothing there.
    known = np.isfinite(drawn)
    means = np.where(known, drawn, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return Gain(float(before), float(after), float(after - before), interval_of(means))
