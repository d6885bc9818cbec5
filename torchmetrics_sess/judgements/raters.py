"""How far people agree with each other, what that leaves a metric to reach, and who did not judge like the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchmetrics_sess.comparison import rank_correlation
from torchmetrics_sess.judgements.answers import STEPS, Answers, Table

Screening: TypeAlias = Literal["bt500", "p910", "none"]

# ITU-R BT.500-14, annex 1, section 2.3.1.
_BT500_SHARE, _BT500_BALANCE = 0.05, 0.3
_BT500_NORMAL = (2.0, 4.0)
# ITU-T P.910 (2023) and P.913, clause 11.4.
_P910_CORRELATION = 0.75
# So many wrong answers about identical pairs are no slip, if they are more than this share.
_CHECKS, _CHECK_SHARE = 2, 0.25
_SPLITS = 200


@dataclass(frozen=True)
class Reliability:
    """How far people agree on one kind of question. What cannot be told is NaN.

    Args:
        alpha: Krippendorff's alpha, ordinal: 1 is perfect agreement, 0 that of chance.
        split_half: rank correlation of the means of one half of the raters with those of the other, over many random
            halves, stepped up to all raters by the formula of Spearman and Brown.
        ceiling: of ratings, the SRCC that a metric can be expected to reach which knows what all people would say on
            average: the square root of ``split_half``. Of choices, the 2AFC of a metric that always sides with the
            majority of these very answers, which none can exceed.
        one_person: the same for one person in place of a metric: mean rank correlation with the mean of the others, or
            how many of the others choose as this person does.
    """

    alpha: float
    split_half: float
    ceiling: float
    one_person: float


@dataclass(frozen=True)
class Rater:
    """How one person judged.

    Args:
        name: name or code.
        answers: how many, to questions proper.
        correlation: Pearson's, of the ratings with the mean of the others; NaN where it cannot be told.
        checks: how many pairs of identical images were shown.
        failed: how many of these were rated 3 or less, or not called equal.
        repeats: how many questions were asked again.
        same: how many of these had the same answer, or a neighbouring step.
        seconds: median time of an answer; NaN if it is not known.
        rejected: why the answers are left out; empty if they are not.
    """

    name: str
    answers: int
    correlation: float
    checks: int
    failed: int
    repeats: int
    same: int
    seconds: float
    rejected: str = ""


def reliability(table: Table, seed: int = 0) -> Reliability:
    """Measure how far raters agree.

    Args:
        table: their answers to one kind of question.
        seed: of the random halves.

    Examples:
        >>> values = np.array([[1.0, 2, 4, 5], [1, 3, 4, 5], [2, 2, 4, 5]])
        >>> questions = [("o", str(index)) for index in range(4)]
        >>> found = reliability(Table("rate", ["a", "b", "c"], questions, values, [("",)] * 4))
        >>> round(found.alpha, 2), found.ceiling > found.split_half > 0.9
        (0.93, True)
    """
    split = _split_half(table.values, seed)
    if table.kind == "rate":
        ceiling = math.sqrt(split) if split >= 0 else math.nan
        person = _mean([rank for _, rank in _against_others(table.values)])
    else:
        shares = _means(table.values)
        ceiling = _mean(np.maximum(shares, 1 - shares).tolist())
        person = _one_person(table.values)
    return Reliability(_alpha(table), split, ceiling, person)


def screen(answers: Answers, table: Table, by: Screening = "bt500") -> list[Rater]:
    """Say how everybody judged, and whose answers are to be left out.

    Whoever fails more than a quarter of the checks with identical images, and at least two, is left out, whatever
    ``by`` is. Ratings are screened further, either by ``"bt500"``, ITU-R BT.500-14 (annex 1, 2.3.1): more than 5 % of
    them lie outside of 2 standard deviations around the mean (√20, where their kurtosis is not that of a normal
    distribution), about as many above as below; or by ``"p910"``, ITU-T P.910: their correlation with the mean of the
    others is below .75. Choices have no such rule.

    Args:
        answers: all answers.
        table: those of one kind.
        by: the rule.

    Raises:
        ValueError: for an unknown rule.
    """
    if by not in ("bt500", "p910", "none"):
        raise ValueError(f"`by` must be 'bt500', 'p910' or 'none', got {by!r}")
    outlying = _bt500(table.values) if by == "bt500" and table.kind == "rate" else [False] * len(table.raters)
    against = [linear for linear, _ in _against_others(table.values)] if table.kind == "rate" else []
    found = []
    for index, name in enumerate(table.raters):
        own = [row for row in answers.rows if row.rater == name and row.kind == table.kind]
        checks = [row.value for row in own if row.role == "check"]
        failed = sum(value <= STEPS / 2 + 0.5 if table.kind == "rate" else value != 0.5 for value in checks)
        before = dict(zip(table.questions, table.values[index], strict=True))
        again = [(row.towards_last, before.get(row.question, math.nan)) for row in own if row.role == "repeat"]
        again = [pair for pair in again if not math.isnan(pair[1])]
        same = sum(abs(a - b) <= (1 if table.kind == "rate" else 0) for a, b in again)
        seconds = [row.seconds for row in own if math.isfinite(row.seconds)]
        correlation = against[index] if against else math.nan
        if failed >= _CHECKS and failed > _CHECK_SHARE * len(checks):
            reason = f"{failed} of {len(checks)} checks failed"
        elif outlying[index]:
            reason = "outlying (BT.500)"
        elif by == "p910" and correlation < _P910_CORRELATION:
            reason = f"correlation {correlation:.2f} (P.910)"
        else:
            reason = ""
        found.append(
            Rater(
                name,
                int(np.isfinite(table.values[index]).sum()),
                correlation,
                len(checks),
                int(failed),
                len(again),
                int(same),
                float(np.median(seconds)) if seconds else math.nan,
                reason,
            )
        )
    return found


def _alpha(table: Table) -> float:
    import krippendorff

    counted = np.isfinite(table.values).sum(axis=0)
    values = table.values[:, counted > 1]
    if values.size == 0 or np.nanmax(values) == np.nanmin(values):
        return math.nan
    return float(krippendorff.alpha(reliability_data=values, level_of_measurement="ordinal"))


def _split_half(values: NDArray[np.float64], seed: int) -> float:
    raters = len(values)
    if raters < 2:
        return math.nan
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(_SPLITS):
        order = generator.permutation(raters)
        halves = [_means(values[order[part]]) for part in (slice(raters // 2), slice(raters // 2, None))]
        both = np.isfinite(halves[0]) & np.isfinite(halves[1])
        if both.sum() > 2:
            found.append(rank_correlation(halves[0][both], halves[1][both]))
    half = _mean(found)
    return 2 * half / (1 + half) if half > -1 else math.nan


def _against_others(values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return Pearson's and Spearman's correlation of every rater with the mean of the others."""
    found = []
    for index, own in enumerate(values):
        others = _means(np.delete(values, index, axis=0))
        both = np.isfinite(own) & np.isfinite(others)
        if both.sum() < 3 or np.ptp(own[both]) == 0 or np.ptp(others[both]) == 0:
            found.append((math.nan, math.nan))
            continue
        linear = float(np.corrcoef(own[both], others[both])[0, 1])
        found.append((linear, rank_correlation(own[both], others[both])))
    return found


def _one_person(values: NDArray[np.float64]) -> float:
    """Return how many of the others choose as one person does, on average."""
    found: list[float] = []
    for index, own in enumerate(values):
        shares = _means(np.delete(values, index, axis=0))
        both = np.isfinite(own) & np.isfinite(shares)
        found += (own[both] * shares[both] + (1 - own[both]) * (1 - shares[both])).tolist()
    return _mean(found)


def _bt500(values: NDArray[np.float64]) -> list[bool]:
    """Apply the screening of BT.500 to ``[raters, questions]``."""
    counted = np.isfinite(values).sum(axis=0)
    # A spread needs three at least.
    values = values[:, counted > 2]
    if values.size == 0:
        return [False] * len(values)
    centred = values - np.nanmean(values, axis=0)
    second = np.nanmean(centred**2, axis=0)
    fourth = np.nanmean(centred**4, axis=0)
    kurtosis = np.divide(fourth, second**2, out=np.full_like(second, 3.0), where=second > 0)
    spread = np.nanstd(values, axis=0, ddof=1)
    normal = (kurtosis >= _BT500_NORMAL[0]) & (kurtosis <= _BT500_NORMAL[1])
    reach = np.where(normal, 2.0, math.sqrt(20)) * spread
    # Where all agree, nobody is beyond.
    above = ((centred >= reach) & (spread > 0)).sum(axis=1)
    below = ((centred <= -reach) & (spread > 0)).sum(axis=1)
    asked = np.isfinite(values).sum(axis=1)
    return [
        bool(up + down > _BT500_SHARE * count and abs(up - down) < _BT500_BALANCE * (up + down))
        for up, down, count in zip(above, below, asked, strict=True)
    ]


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of every column, NaN where there is no value, without a warning."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    totals = np.where(known, values, 0).sum(axis=0)
    means: NDArray[np.float64] = np.divide(totals, counts, out=np.full(values.shape[1], math.nan), where=counts > 0)
    return means


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return float(np.mean(finite)) if finite else math.nan
