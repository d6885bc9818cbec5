"""How codecs compare in the eyes of people: their mean ratings, and their strengths in choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchmetrics_sess.judgements.agreement import interval_of, resamples_of
from torchmetrics_sess.judgements.answers import Table


@dataclass(frozen=True)
class Codec:
    """What people think of one codec.

    Args:
        name: of the codec.
        value: mean rating; or, of choices, its strength by the model of Bradley and Terry: a codec of strength ``a`` is
            chosen over one of strength ``b`` with probability ``1 / (1 + exp(b - a))``, and all strengths have mean 0.
        interval: the middle 95 % of resamples of the originals.
        answers: how many answers it took part in.
    """

    name: str
    value: float
    interval: tuple[float, float]
    answers: int


def compare_codecs(table: Table, *, resamples: int = 200, seed: int = 0) -> list[Codec]:
    """Compare codecs by what people said, best first, with bootstrap intervals over originals.

    Ties count as half a choice of either. Strengths are found by ``choix`` (iterative Luce spectral ranking; Maystre
    and Grossglauser, NeurIPS 2015), whose regularisation of .1 lets a codec that always wins have a finite strength.

    Args:
        table: the answers of one kind.
        resamples: how often to draw originals.
        seed: of the random numbers.
    """
    names = sorted({name for codecs in table.codecs for name in codecs})
    if len(names) < 2 and table.kind == "choose":
        return []
    number = {name: index for index, name in enumerate(names)}
    places = np.array([[number[name] for name in codecs] for codecs in table.codecs])
    counts = np.isfinite(table.values).sum(axis=0)
    totals = np.where(np.isfinite(table.values), table.values, 0).sum(axis=0)
    estimate = _mean_ratings if table.kind == "rate" else _strengths
    everything = np.arange(len(table.questions))
    value = estimate(everything, places, totals, counts, len(names))
    originals = [question[0] for question in table.questions]
    drawn = np.array(
        [estimate(chosen, places, totals, counts, len(names)) for chosen in resamples_of(originals, resamples, seed)]
    )
    answers = [int(counts[(places == index).any(axis=1)].sum()) for index in range(len(names))]
    found = [
        Codec(name, float(value[index]), interval_of(drawn[:, index]), answers[index])
        for index, name in enumerate(names)
    ]
    return sorted(found, key=lambda codec: -codec.value if math.isfinite(codec.value) else math.inf)


def _mean_ratings(
    chosen: NDArray[np.int64],
    places: NDArray[np.int64],
    totals: NDArray[np.float64],
    counts: NDArray[np.int64],
    codecs: int,
) -> NDArray[np.float64]:
    total, count = np.zeros(codecs), np.zeros(codecs)
    np.add.at(total, places[chosen, 0], totals[chosen])
    np.add.at(count, places[chosen, 0], counts[chosen])
    means: NDArray[np.float64] = np.divide(total, count, out=np.full(codecs, math.nan), where=count > 0)
    return means


def _strengths(
    chosen: NDArray[np.int64],
    places: NDArray[np.int64],
    totals: NDArray[np.float64],
    counts: NDArray[np.int64],
    codecs: int,
) -> NDArray[np.float64]:
    import choix

    wins = np.zeros((codecs, codecs))
    first, second = places[chosen].T
    np.add.at(wins, (second, first), totals[chosen])
    np.add.at(wins, (first, second), counts[chosen] - totals[chosen])
    np.fill_diagonal(wins, 0)
    return np.asarray(choix.ilsr_pairwise_dense(wins, alpha=0.1, max_iter=1000, tol=1e-6))


def listed(codecs: Sequence[Codec]) -> list[dict[str, object]]:
    """Return codecs as plain values, for a file."""
    return [
        {"codec": codec.name, "value": codec.value, "interval": list(codec.interval), "answers": codec.answers}
        for codec in codecs
    ]
