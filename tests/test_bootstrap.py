"""The confidence interval of a mean is that of the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from torchmetrics_sess.bootstrap import confidence_interval

VALUES = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_it_is_the_interval_of_scipy(level: float) -> None:
    expected = bootstrap(
        (VALUES.numpy(),), np.mean, confidence_level=level, method="percentile", random_state=np.random.default_rng(0)
    ).confidence_interval
    # Two draws of the resamples differ by a few percent of the width.
    slack = 0.1 * (expected.high - expected.low)
    assert confidence_interval(VALUES, level, resamples=5000) == pytest.approx(tuple(expected), abs=slack)


def test_the_seed_decides_the_draws() -> None:
    assert confidence_interval(VALUES) == confidence_interval(VALUES)
    assert confidence_interval(VALUES) != confidence_interval(VALUES, seed=1)


def test_the_default_device_plays_no_part() -> None:
    expected = confidence_interval(VALUES)
    with torch.device("meta"):
        assert confidence_interval(VALUES) == expected


def test_of_equal_values_it_has_no_width() -> None:
    assert confidence_interval(torch.full((7,), 0.25)) == (0.25, 0.25)


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5])
def test_levels_out_of_range_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="`level` must be between 0 and 1"):
        confidence_interval(VALUES, level)


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        confidence_interval(torch.zeros(0))
    with pytest.raises(ValueError, match="`resamples` must be at least 1"):
        confidence_interval(VALUES, resamples=0)
