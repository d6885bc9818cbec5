"""What metrics and people say of the same images, side by side."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torchmetrics_sess.comparison import ImageMetric, IncomparableWarning
from torchmetrics_sess.images import read_image
from torchmetrics_sess.judgements.agreement import (
    Agreement,
    agreement,
    choice_statistics,
    rating_statistics,
)
from torchmetrics_sess.judgements.datasets import Judgements

ImagePaths = tuple[Path, Path]
"""An original and another image."""


@dataclass(frozen=True)
class Analysis:
    """How well metrics agree with people on one kind of question.

    Args:
        choices: whether people chose between two images, rather than rating one.
        judgements: the number of questions.
        originals: the number of originals.
        left_out: how many questions were left out, because a metric has no value for them.
        results: by the name of the statistic.
    """

    choices: bool
    judgements: int
    originals: int
    left_out: int
    results: Mapping[str, Agreement]

    def rows(self) -> list[dict[str, Any]]:
        """Return the results as plain values, one row per statistic and metric."""
        return [
            {
                "statistic": name,
                "metric": metric,
                "value": each.value[metric],
                "interval": list(each.interval[metric]),
                "judgements": self.judgements,
                "left_out": self.left_out,
                "p_values": {
                    first if second == metric else second: value
                    for (first, second), value in each.p_values.items()
                    if metric in (first, second)
                },
            }
            for name, each in self.results.items()
            for metric in each.value
        ]


def draw(judgements: Judgements, limit: int | None, seed: int = 0) -> Judgements:
    """Return so many judgements, drawn at random, in their order; all of them without a limit.

    Those about one original lie side by side afterwards, so that it goes through networks once.
    """
    kept: list[int] = sorted(range(len(judgements.human)), key=lambda index: str(judgements.references[index]))
    if limit is not None and limit < len(kept):
        chosen = set(np.random.default_rng(seed).choice(len(kept), size=limit, replace=False).tolist())
        kept = [index for index in kept if index in chosen]
    return Judgements(
        [judgements.references[index] for index in kept],
        [judgements.others[index] for index in kept],
        [judgements.human[index] for index in kept],
        [judgements.votes[index] for index in kept] if judgements.votes else (),
    )


def image_pairs(judgements: Judgements) -> list[ImagePaths]:
    """Return the pairs of images that judgements are about, in order; two per judgement where people chose."""
    return [
        (reference, other)
        for reference, others in zip(judgements.references, judgements.others, strict=True)
        for other in others
    ]


def measure(
    pairs: Sequence[ImagePaths], metrics: Mapping[str, ImageMetric], batch_size: int
) -> Iterator[dict[str, list[float]]]:
    """Yield what every metric says of one batch of pairs after the other, the sign turned where lower is more alike.

    Raises:
        ValueError: if an image cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncomparableWarning)
        for start in range(0, len(pairs), batch_size):
            batch = pairs[start : start + batch_size]
            images = {path: read_image(path) for pair in batch for path in pair}
            target, preds = [images[reference] for reference, _ in batch], [images[other] for _, other in batch]
            yield {
                name: [(1 if metric.higher_is_better else -1) * value for value in metric(preds, target)]
                for name, metric in metrics.items()
            }


def analyse(
    judgements: Judgements, values: Mapping[str, Sequence[float]], *, resamples: int = 1000, seed: int = 0
) -> Analysis:
    """Compare metrics with people.

    Args:
        judgements: what people said.
        values: what every metric says of ``image_pairs(judgements)``; higher is more alike, NaN where it has no value.
        resamples: how often to draw originals for intervals and tests.
        seed: of the random numbers.

    Raises:
        ValueError: if no metric has a value for any judgement, or people said the same of all.
    """
    table = {name: np.asarray(column).reshape(len(judgements.human), -1) for name, column in values.items()}
    undefined = np.isnan(np.concatenate(list(table.values()), axis=1)).any(axis=1)
    if undefined.all():
        raise ValueError("there is no judgement for which every metric has a value; choose fewer metrics")
    table = {name: column[~undefined] for name, column in table.items()}
    human = np.array(judgements.human)[~undefined]
    references = [reference for reference, left in zip(judgements.references, undefined, strict=True) if not left]
    first = {name: column[:, 0] for name, column in table.items()}
    if judgements.choices:
        statistics = choice_statistics(first, {name: column[:, 1] for name, column in table.items()})
    elif np.ptp(human) == 0:
        raise ValueError(f"people gave all {len(human)} pairs the same rating: there is no order to agree with")
    else:
        statistics = rating_statistics(first, human)
    return Analysis(
        judgements.choices,
        len(human),
        len(set(references)),
        int(undefined.sum()),
        {each.name: agreement(each, human, references, resamples=resamples, seed=seed) for each in statistics},
    )
