"""Scores beside what people said of the same pairs: where the marks of the chart go, and where they disagree most."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchmetrics_sess.judgements.agreement import agreement, logistic_curve, rating_statistics
from torchmetrics_sess.judgements.answers import STEPS, Table
from torchmetrics_sess.report.charts import Axis
from torchmetrics_sess.results import Row

# Steps of the curve; more than these look the same.
_STEPS = 48
_RESAMPLES = 500


@dataclass(frozen=True)
class Rated:
    """A pair with a score and a mean rating; ``x`` and ``y`` are its place in percent.

    Args:
        row: the pair and its score.
        rating: the mean of what people said, 1 to 5.
        expected: what the curve gives for its score.
        answers: of how many people.
    """

    row: Row
    rating: float
    expected: float
    answers: int
    x: float
    y: float


@dataclass(frozen=True)
class People:
    """What people and scores say of the same pairs.

    Args:
        pairs: those that have both.
        across: the axis of the scores.
        up: the axis of the ratings.
        curve: the fitted logistic curve, places in percent.
        raters: how many people there are.
        originals: how many originals.
        statistics: name, value and 95 % interval of every measure of agreement.
        unknown: how many rated pairs have no score.
    """

    pairs: Sequence[Rated]
    across: Axis
    up: Axis
    curve: Sequence[tuple[float, float]]
    raters: int
    originals: int
    statistics: Sequence[tuple[str, float, tuple[float, float]]]
    unknown: int

    def higher_than_people(self, count: int) -> list[Rated]:
        """Return the pairs whose scores lie furthest above what people say."""
        ordered = sorted(self.pairs, key=lambda each: each.rating - each.expected)
        return [each for each in ordered[:count] if each.rating < each.expected]

    def lower_than_people(self, count: int) -> list[Rated]:
        """Return the pairs whose scores lie furthest below what people say."""
        ordered = sorted(self.pairs, key=lambda each: each.expected - each.rating)
        return [each for each in ordered[:count] if each.rating > each.expected]


def beside_people(rows: Sequence[Row], table: Table) -> People:
    """Set scores beside mean ratings.

    Args:
        rows: of a results file; a pair is found again by where its two files are.
        table: ratings.

    Raises:
        ValueError: if fewer than three rated pairs have a score, or people gave all of them the same rating.
    """
    scored = {_place(row.pair.origin, row.pair.recon): row for row in rows if row.score is not None}
    counts = np.isfinite(table.values).sum(axis=0)
    found: list[tuple[Row, float, int]] = []
    for question, rating, count in zip(table.questions, table.judgements().human, counts, strict=True):
        row = scored.get(_place(question[0], question[1]))
        if row is not None:
            found.append((row, rating, int(count)))
    if len(found) < 3:
        raise ValueError(
            f"of {len(table.questions)} rated pairs, {len(found)} are among the results, and three are the fewest that "
            "can be compared; relative paths of results start from the folder in which the report is made"
        )
    scores, ratings = np.array([row.score for row, _, _ in found]), np.array([rating for _, rating, _ in found])
    if np.ptp(ratings) == 0:
        raise ValueError(f"people gave all {len(found)} pairs the same rating: there is no order to agree with")
    originals = [row.pair.origin for row, _, _ in found]
    statistics = []
    for each in rating_statistics({"sess": scores}, ratings):
        result = agreement(each, ratings, originals, resamples=_RESAMPLES)
        statistics.append((each.name, result.value["sess"], result.interval["sess"]))
    curve = logistic_curve(scores, ratings)
    across, up = Axis.over(scores.tolist()), Axis(1.0, float(STEPS), 1.0)
    along = np.linspace(scores.min(), scores.max(), _STEPS)
    return People(
        [
            Rated(row, rating, float(expected), count, across.place(row.score or 0.0), up.place(rating))
            for (row, rating, count), expected in zip(found, curve(scores), strict=True)
        ],
        across,
        up,
        [(across.place(float(x)), up.place(float(y))) for x, y in zip(along, curve(along), strict=True)],
        len(table.raters),
        len(set(originals)),
        statistics,
        len(table.questions) - len(found),
    )


def _place(origin: str, recon: str) -> tuple[str, str]:
    here = Path.cwd()
    return os.path.normpath(here / origin), os.path.normpath(here / recon)
