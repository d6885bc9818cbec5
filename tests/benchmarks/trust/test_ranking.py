"""The summaries of a measure against their definitions, word by word."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.trust.ranking import ordering_rate, separation

# Few different values, so that there are ties.
scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=6)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(higher=scores, lower=scores)
def test_separation_counts_pairs(higher: list[float], lower: list[float]) -> None:
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(higher, lower)]
    assert separation(higher, lower) == pytest.approx(sum(wins) / len(wins))
    assert separation(higher, lower) == pytest.approx(1 - separation(lower, higher))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(scores, scores), min_size=1, max_size=4))
def test_ordering_compares_within_a_photograph_only(pairs: list[tuple[list[float], list[float]]]) -> None:
    wins = [a > b for first, second in pairs for a, b in itertools.product(first, second)]
    assert ordering_rate(pairs) == pytest.approx(sum(wins) / len(wins))


def test_nothing_to_order_is_no_number() -> None:
    assert math.isnan(ordering_rate([]))
    assert math.isnan(ordering_rate([([1.0], [])]))
    assert math.isnan(separation([], [1.0]))
