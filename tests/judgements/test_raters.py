"""Reliability against its definition, and raters who did not look."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from torchmetrics_sess.judgements import Answer, Answers, Table, compare_codecs, reliability, screen


def table_of(values: np.ndarray, kind: str = "rate", codecs: Sequence[tuple[str, ...]] | None = None) -> Table:
    raters, questions = values.shape
    asked = [
        (f"o{index % 10}", f"r{index}") if kind == "rate" else (f"o{index % 10}", "r", f"s{index}")
        for index in range(questions)
    ]
    return Table(kind, [f"p{index}" for index in range(raters)], asked, values, codecs or [("c",)] * questions)  # type: ignore[arg-type]


def ratings(raters: int, noise: float, seed: int = 0, questions: int = 60) -> np.ndarray:
    generator = np.random.default_rng(seed)
    truth = generator.uniform(1, 5, questions)
    return (truth + noise * generator.standard_normal((raters, questions))).round().clip(1, 5)


def test_perfect_agreement_is_1_and_chance_is_0() -> None:
    same = reliability(table_of(ratings(5, 0.0)))
    assert same.alpha == pytest.approx(1)
    assert same.split_half == pytest.approx(1)
    assert same.ceiling == pytest.approx(1)
    guessed = np.random.default_rng(1).integers(1, 6, (6, 300)).astype(float)
    assert abs(reliability(table_of(guessed)).alpha) < 0.05


def test_the_ceiling_is_what_the_truth_itself_reaches() -> None:
    generator = np.random.default_rng(2)
    truth = generator.standard_normal(400)
    values = (2 * truth + 2 * generator.standard_normal((8, 400))).round()
    found = reliability(table_of(values))
    reached = float(np.corrcoef(np.argsort(np.argsort(truth)), np.argsort(np.argsort(values.mean(0))))[0, 1])
    assert found.ceiling == pytest.approx(reached, abs=0.03)
    assert found.one_person < found.ceiling


def test_what_cannot_be_told_is_nan() -> None:
    alone = reliability(table_of(ratings(1, 0.5)))
    assert all(math.isnan(value) for value in (alone.alpha, alone.split_half, alone.ceiling, alone.one_person))
    assert math.isnan(reliability(table_of(np.full((3, 5), 4.0))).alpha)


def test_screening_finds_whoever_guesses() -> None:
    values = ratings(12, 0.4)
    values[3] = np.random.default_rng(3).integers(1, 6, values.shape[1])
    table = table_of(values)
    nobody = Answers([], "")
    assert [rater.name for rater in screen(nobody, table, "bt500") if rater.rejected] == ["p3"]
    assert [rater.name for rater in screen(nobody, table, "p910") if rater.rejected] == ["p3"]
    assert not any(rater.rejected for rater in screen(nobody, table, "none"))


def test_checks_and_repeats_are_counted() -> None:
    values = ratings(3, 0.3)
    table = table_of(values)
    question = table.questions[0]
    first = float(values[0, 0])
    rows = [Answer("rate", "p0", "o", "o", "", value, "check", seconds=2.0) for value in (5.0, 2.0, 1.0)]
    rows += [
        Answer("rate", "p0", question[0], question[1], "", value, "repeat", seconds=4.0)
        for value in (first, (first + 2) % 5 + 1)
    ]
    found = screen(Answers(rows, ""), table)[0]
    assert (found.checks, found.failed, found.repeats) == (3, 2, 2)
    assert found.same == 1
    assert found.seconds == 2.0
    assert found.rejected == "2 of 3 checks failed"


@pytest.mark.parametrize("kind", ["rate", "choose"])
def test_codecs_come_out_in_their_order(kind: str) -> None:
    generator = np.random.default_rng(4)
    strength = {"good": 2.0, "fair": 0.0, "poor": -2.0}
    names = list(strength)
    pairs = [(names[i % 3], names[(i + 1) % 3]) for i in range(90)]
    if kind == "rate":
        values = np.array([[3 + strength[a] / 2 for a, _ in pairs]]) + 0.2 * generator.standard_normal((5, 90))
        table = table_of(values, kind, [(a,) for a, _ in pairs])
    else:
        chances = np.array([1 / (1 + math.exp(strength[a] - strength[b])) for a, b in pairs])
        table = table_of((generator.random((20, 90)) < chances).astype(float), kind, pairs)
    found = compare_codecs(table, resamples=20)
    assert [codec.name for codec in found] == names
    for codec in found:
        assert codec.interval[0] <= codec.value <= codec.interval[1]
    if kind == "choose":
        # What the choices were drawn with.
        assert found[0].value - found[2].value == pytest.approx(4, abs=0.7)
