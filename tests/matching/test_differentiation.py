"""The derivative of a match against finite differences, for every way of matching."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shared.matching_oracle import random_graph, random_relation_similarity
from torchmetrics_sess.matching import MatchingConfig, differentiate_graph_pairs, match_graphs
from torchmetrics_sess.matching.config import Assignment, Balance, UpdateOrder

KNOWN = torch.from_numpy(random_relation_similarity(0))
STEP = 1e-6
FIELDS = ("features", "centers", "importance", "image_feature")


@st.composite
def configs(draw: st.DrawFn) -> MatchingConfig:
    return MatchingConfig(
        update_order=draw(st.sampled_from(get_args(UpdateOrder))),
        iterations=draw(st.integers(0, 3)),
        alpha=0.3,
        beta=draw(st.sampled_from([0.05, 0.5])),
        theta=0.2,
        image_weight=draw(st.sampled_from([0.0, 0.2])),
        assignment=draw(st.sampled_from(get_args(Assignment))),
        slack=draw(st.sampled_from([0.0, 0.15, 9.0])),
        balance=draw(st.sampled_from(get_args(Balance))),
        cosine_floor=draw(st.sampled_from([-1.0, 0.0])),
        probability_center=draw(st.sampled_from([None, 0.4])),
        exponent=draw(st.sampled_from([1.0, 2.0])),
    )


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    config=configs(),
)
def test_agrees_with_finite_differences(
    sizes: tuple[int, int], density: float, seed: int, config: MatchingConfig
) -> None:
    a, b = (random_graph(n, int(density * n * n), seed + k, spread=3) for k, n in enumerate(sizes))
    [(result, gradient)] = differentiate_graph_pairs([a], [b], KNOWN, config)
    assert result.score == match_graphs(a, b, KNOWN, config).score
    generator = torch.Generator().manual_seed(seed)
    for field in FIELDS:
        value = getattr(a, field).double()
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if field == "importance":
            # Vanishing weights must stay positive.
            direction = direction * value
        ahead, behind = (
            match_graphs(dataclasses.replace(a, **{field: value + step * direction}), b, KNOWN, config).score
            for step in (STEP, -STEP)
        )
        slope = (getattr(gradient, field) * direction).sum().item()
        assert slope == pytest.approx((ahead - behind) / (2 * STEP), rel=1e-4, abs=1e-8), field
