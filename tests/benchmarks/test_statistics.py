"""Paired differences: symmetric, and in step with a plain bootstrap and a plain test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from benchmarks.shared.statistics import leads, paired_difference


def test_exchanged_measures_differ_by_sign() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((2, 12))
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert one.mean == pytest.approx(-other.mean)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p == other.p


def test_p_is_that_of_all_signs() -> None:
    differences = np.array([0.3, 0.1, -0.2, 0.4, 0.25, 0.05, 0.3, -0.1])
    exact = permutation_test((differences,), np.mean, permutation_type="samples").pvalue
    assert paired_difference(differences, np.zeros(8)).p == pytest.approx(exact, abs=0.02)


def test_equal_measures_do_not_differ() -> None:
    same = paired_difference(np.ones(5), np.ones(5))
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_leads_name_every_other_measure() -> None:
    rows = leads("ordering", {"SeSS": np.array([1.0, 1.0]), "PSNR": np.array([0.0, 0.5]), "SSIM": np.array([1.0, 1.0])})
    assert [(row["over"], row["n"], row["mean"]) for row in rows] == [("PSNR", 2, 0.75), ("SSIM", 2, 0.0)]
