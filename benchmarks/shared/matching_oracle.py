"""Matching as the formulas read, in Python loops over scipy's solvers.

The compiled kernel is checked against it in the tests, and timed against it in ``benchmarks/cost/matching.py``.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog
from scipy.special import expit

from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.matching import MatchingConfig

Array: TypeAlias = NDArray[np.float64]

PREDICATES = 56


def match(
    a: SceneGraph, b: SceneGraph, relation_similarity: Array, config: MatchingConfig, *, first_in_place: bool = False
) -> tuple[float, Array]:
    """Return the graph score and the final similarity of two scene graphs in double precision.

    With ``first_in_place``, a sequential first iteration sees its own updates. That of the released code does not.
    """
    w, v = a.importance.numpy(), b.importance.numpy()
    relation_a, relation_b = a.relation.numpy(), b.relation.numpy()
    neighbours_a = [np.flatnonzero(row >= 0) for row in relation_a]
    neighbours_b = [np.flatnonzero(row >= 0) for row in relation_b]

    cosine = np.maximum(a.features.numpy() @ b.features.numpy().T, config.cosine_floor)
    if config.probability_center is not None:
        odds = [expit((c - config.probability_center) / config.probability_width) for c in (cosine.clip(0, 1), 0, 1)]
        cosine = (odds[0] - odds[1]) / (odds[2] - odds[1])
    offset = a.centers.numpy()[:, None] - b.centers.numpy()[None]
    similarity = (1 - config.theta) * cosine + config.theta * (1 - (offset**2).sum(-1) / 2)
    for iteration in range(config.iterations):
        synchronous = config.update_order == "synchronous" or (iteration == 0 and not first_in_place)
        source = similarity.copy() if synchronous else similarity
        for i, near_i in enumerate(neighbours_a):
            for j, near_j in enumerate(neighbours_b):
                if len(near_i) == 0 or len(near_j) == 0:
                    value = 1.0 if len(near_i) == len(near_j) else 0.0
                else:
                    known = relation_similarity[np.ix_(relation_a[i, near_i], relation_b[j, near_j])]
                    benefit = (1 - config.alpha) * source[np.ix_(near_i, near_j)] + config.alpha * known
                    share_i, share_j = w[near_i] / w[near_i].sum(), v[near_j] / v[near_j].sum()
                    if config.assignment == "transport":
                        by_row = transport(benefit, share_i, share_j, config.slack)
                        by_column = transport(benefit.T, share_j, share_i, config.slack)
                        if config.slack > 0 and config.balance == "lower":
                            by_row = by_column = min(by_row, by_column)
                    else:
                        by_row, by_column = assign(benefit, share_i, share_j)
                    value = (by_row * w[i] + by_column * v[j]) / (w[i] + v[j])
                similarity[i, j] = (1 - config.beta) * similarity[i, j] + config.beta * value

    if config.assignment == "transport":
        w, v = w / w.sum(), v / v.sum()
        by_row = transport(similarity, w, v, config.slack)
        by_column = transport(similarity.T, v, w, config.slack)
        lower = config.slack > 0 and config.balance == "lower"
        return min(by_row, by_column) if lower else (by_row + by_column) / 2, similarity
    by_row, by_column = assign(similarity, w, v)
    return (len(w) * by_row + len(v) * by_column) / (len(w) + len(v)), similarity


def assign(benefit: Array, row_weight: Array, column_weight: Array) -> tuple[float, float]:
    """Return the maximum-weight assignments with rows scaled, and with columns scaled."""
    values = []
    for scaled in (benefit * row_weight[:, None], benefit * column_weight):
        row, column = linear_sum_assignment(scaled, maximize=True)
        values.append(float(scaled[row, column].sum()))
    return values[0], values[1]


def transport(benefit: Array, supply: Array, demand: Array, slack: float = 0.0) -> float:
    """Return the most benefit of any plan that moves all of ``supply``, with columns taking ``slack`` over demand."""
    rows, columns = benefit.shape
    from_rows = np.kron(np.eye(rows), np.ones(columns))
    to_columns = np.kron(np.ones(rows), np.eye(columns))
    # The solver is exact to 1e-7 of an absolute amount: large masses make that negligible.
    mass = 1e6
    if slack > 0:
        limits = {"A_eq": from_rows, "b_eq": mass * supply, "A_ub": to_columns, "b_ub": mass * (1 + slack) * demand}
    else:
        # One marginal follows from the others; rounding must not make it contradict them.
        marginals = np.concatenate([from_rows, to_columns])[:-1]
        limits = {"A_eq": marginals, "b_eq": mass * np.concatenate([supply, demand])[:-1]}
    return float(-linprog(-benefit.ravel(), **limits).fun) / mass


def random_relation_similarity(seed: int) -> Array:
    """Return cosines of random predicate embeddings, some of them negative."""
    embedding = np.random.default_rng(seed).normal(size=(PREDICATES, 8)) + 0.5
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return embedding @ embedding.T


def random_graph(nodes: int, edges: int, seed: int, *, dimensions: int = 16, spread: float = 1.0) -> SceneGraph:
    """Return a scene graph in double precision.

    Args:
        nodes: how many objects.
        edges: how many ordered pairs of them are related, at most.
        seed: fixes everything else.
        dimensions: of the features.
        spread: how many orders of magnitude importances may span.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(nodes + 1, dimensions))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    importance = 10.0 ** -rng.uniform(0, spread, nodes)
    relation = np.full((nodes, nodes), -1)
    ordered_pairs = np.flatnonzero(~np.eye(nodes, dtype=bool))
    related = rng.choice(ordered_pairs, min(edges, len(ordered_pairs)), replace=False)
    relation.flat[related] = rng.integers(0, PREDICATES, len(related))
    return SceneGraph(
        features=torch.from_numpy(features[:-1]),
        centers=torch.from_numpy(rng.random((nodes, 2))),
        importance=torch.from_numpy(importance / importance.sum()),
        relation=torch.from_numpy(relation),
        confidence=torch.from_numpy(np.where(relation >= 0, rng.random((nodes, nodes)), -1.0)),
        image_feature=torch.from_numpy(features[-1]),
    )
