"""Pairs that are prepared once score as pairs that are matched anew."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.shared.matching_oracle import random_graph, random_relation_similarity
from torchmetrics_sess.matching import MatchingConfig, PreparedPairs, match_graph_pairs

CONFIGS = [
    MatchingConfig(),
    MatchingConfig(iterations=2, alpha=0.6, beta=0.3, theta=0.5, image_weight=0.4, exponent=2.0),
    MatchingConfig(assignment="transport", slack=0.5, balance="lower", cosine_floor=0.2, iterations=1),
    MatchingConfig(assignment="transport", probability_center=0.4, iterations=0),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_scores_are_those_of_matching(config: MatchingConfig) -> None:
    similarity = torch.from_numpy(random_relation_similarity(0))
    left = [random_graph(5, 8, seed) for seed in range(6)]
    right = [random_graph(4 + seed % 3, 6, 10 + seed) for seed in range(6)]
    prepared = PreparedPairs(left, right, similarity)
    assert len(prepared) == 6
    expected = [result.score for result in match_graph_pairs(left, right, similarity, config)]
    assert prepared.scores(config) == expected
    assert prepared.scores(config, only=[4, 1], threads=2) == [expected[4], expected[1]]

    even = [dataclasses.replace(graph, importance=torch.full((len(graph),), 1 / len(graph))) for graph in left]
    weights = (
        [np.full(len(graph), 1 / len(graph)) for graph in left],
        [graph.importance.double().numpy() for graph in right],
    )
    expected = [result.score for result in match_graph_pairs(even, right, similarity, config)]
    assert prepared.scores(config, weights) == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_prepared_is_said() -> None:
    graph = random_graph(4, 6, 0)
    with pytest.raises(ValueError, match="must be as many, got 1 and 0"):
        PreparedPairs([graph], [], torch.eye(56))
    with pytest.raises(ValueError, match="`threads` must be at least 1"):
        PreparedPairs([graph], [graph], torch.eye(56)).scores(MatchingConfig(), threads=0)
