"""Matching as callers see it: graphs checked on the way in, the compiled kernel in threads, results as tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.matching.config import MatchingConfig

RELEASED = MatchingConfig()
_NO_HISTORY = np.empty((0, 0, 0))
_PAIRS_AT_ONCE = 32
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class MatchResult:
    """How well two scene graphs match, and through which objects.

    Args:
        score: the semantic similarity score, ``(1 - image_weight) * graph_score + image_weight * image_score``, raised
            to the power ``exponent``.
        graph_score: what the matched objects give.
        image_score: cosine of the two whole-image features.
        similarity: final similarity of every pair of objects, ``[n_a, n_b]``.
        plan: how much of the graph score rests on every pair, ``[n_a, n_b]``, so that ``(plan * similarity).sum()`` is
            the graph score. With transport it is the plan itself: its rows sum to the importance in ``a``, its columns
            to that in ``b``; with slack, there are two plans, of which one has these rows and the other these columns,
            and it is their mean, or the one that counts. One-to-one, it is the mean of two maximum-weight assignments,
            weighted by ``n_a`` and ``n_b``: the first scaled by the importance in ``a``, the second by that in ``b``; a
            row then falls short of its importance as far as its object finds no match.
        assignment: the matched pairs (i, j), sorted. One-to-one, these are ``min(n_a, n_b)`` pairs, no object in two of
            them, of the assignment that is best with both importances at once, which the plan need not contain in full;
            with transport, all pairs between which the plan moves mass.
        unmatched_a: how much of the graph score is lost because objects of ``a`` find no match, ``[n_a]``. One-to-one,
            it is the importance of those that the first assignment leaves out, by the weight of that assignment; with
            transport, it is 0. All of ``plan``, ``unmatched_a`` and ``unmatched_b`` sum to 1.
        unmatched_b: likewise in ``b``, by the second assignment, ``[n_b]``.
    """

    score: float
    graph_score: float
    image_score: float
    similarity: Float64[Tensor, "n_a n_b"]
    plan: Float64[Tensor, "n_a n_b"]
    assignment: list[tuple[int, int]]
    unmatched_a: Float64[Tensor, " n_a"]
    unmatched_b: Float64[Tensor, " n_b"]


class GraphGradient(NamedTuple):
    """Derivative of a score by what it reads of a scene graph, in double precision on the CPU.

    Attributes:
        features: ``[n, d]``.
        centers: ``[n, 2]``.
        importance: ``[n]``, each weight taken for itself: to scale all of them changes nothing.
        image_feature: ``[e]``.
    """

    features: Float64[Tensor, "n d"]
    centers: Float64[Tensor, "n 2"]
    importance: Float64[Tensor, " n"]
    image_feature: Float64[Tensor, " e"]


def match_graphs(
    a: SceneGraph, b: SceneGraph, relation_similarity: Float[Tensor, "p q"], config: MatchingConfig = RELEASED
) -> MatchResult:
    """Score how much of the meaning of one image another one keeps.

    The similarity of two objects starts from their features and positions, takes in that of their neighbours for some
    iterations, and is summed over the best matching of all objects, weighted by importance (Fan et al., section III)::

        L[i, j] = (1 - theta) f_i · g_j + theta (1 - |c_i - d_j|² / 2)              features f, g; centres c, d
        C[a, b] = (1 - alpha) L[a, b] + alpha R[r_ia, r_jb]                         neighbours a of i, b of j
        m       = (w_i m_A + v_j m_B) / (w_i + v_j)                                 best matchings of C by importance
        L[i, j] = (1 - beta) L[i, j] + beta m                                       ``iterations`` times
        graph   = sum of P[i, j] L[i, j]                                            P: the best plan
        score   = ((1 - image_weight) graph + image_weight f · g) ** exponent       f, g: of the whole images

    ``m_A`` and ``m_B`` are the best matchings of ``C`` with the neighbours of either weighted by their share of
    importance; where one has neighbours and the other none, ``m`` is 0, and where neither has, 1. With
    ``probability_center``, the logistic of the cosine stands in place of ``f_i · g_j``.

    Args:
        a: scene graph of the one image, of any floating dtype, on any device.
        b: scene graph of the other.
        relation_similarity: similarity of every two predicates, ``[p, p]``, which the relations of both graphs index.
        config: the settings.

    Returns:
        The scores and where they come from, in double precision on the CPU. An image against itself scores 1; nothing
        is clamped.

    Raises:
        ValueError: if the graphs disagree on the number of features, hold numbers that are not finite, an importance
            that is negative or does not sum to 1, or a predicate beyond ``p``; or if ``relation_similarity`` is not a
            square matrix of finite numbers.

    Examples:
        >>> import torch
        >>> graph = SceneGraph(
        ...     features=torch.eye(2),
        ...     centers=torch.tensor([[0.25, 0.5], [0.75, 0.5]]),
        ...     importance=torch.tensor([0.75, 0.25]),
        ...     relation=torch.tensor([[-1, 0], [-1, -1]]),
        ...     confidence=torch.tensor([[-1.0, 0.9], [-1.0, -1.0]]),
        ...     image_feature=torch.tensor([0.6, 0.8]),
        ... )
        >>> result = match_graphs(graph, graph, relation_similarity=torch.eye(56))
        >>> round(result.score, 6), result.assignment
        (1.0, [(0, 0), (1, 1)])
    """
    predicates = _read_relation_similarity(relation_similarity)
    problem = _pose(_read(a, "a", len(predicates)), _read(b, "b", len(predicates)), config, "a", "b")
    return _solve(problem, predicates, config)


def match_graph_pairs(
    graphs_a: Sequence[SceneGraph],
    graphs_b: Sequence[SceneGraph],
    relation_similarity: Float[Tensor, "p q"],
    config: MatchingConfig = RELEASED,
    threads: int | None = None,
) -> list[MatchResult]:
    """Match many pairs of scene graphs at once; see ``match_graphs``.

    Args:
        graphs_a: the scene graphs of some images.
        graphs_b: as many others; the k-th is matched with the k-th of ``graphs_a``.
        relation_similarity: similarity of every two predicates, ``[p, p]``.
        config: the settings.
        threads: how many pairs to match at a time, which changes no result; by default as many as PyTorch uses
            threads, which launchers set such that the processes of a machine share its processors.

    Returns:
        One result per pair, in order.

    Raises:
        ValueError: as for ``match_graphs``, or if the two sequences differ in length, or ``threads`` is below 1.

    Examples:
        >>> match_graph_pairs([], [], relation_similarity=torch.eye(56))
        []
    """
    predicates = _read_relation_similarity(relation_similarity)
    problems = [
        _pose(a, b, config, f"graphs_a[{k}]", f"graphs_b[{k}]")
        for k, (a, b) in enumerate(_read_pairs(graphs_a, graphs_b, len(predicates)))
    ]
    return _in_threads(lambda problem: _solve(problem, predicates, config), problems, threads)


def differentiate_graph_pairs(
    graphs_a: Sequence[SceneGraph],
    graphs_b: Sequence[SceneGraph],
    relation_similarity: Float[Tensor, "p q"],
    config: MatchingConfig = RELEASED,
    threads: int | None = None,
) -> list[tuple[MatchResult, GraphGradient]]:
    """Match many pairs of scene graphs, and differentiate every score by the first graph of its pair.

    The derivative is exact wherever there is one: through all updates from neighbours, the final matching, and the
    masses that it moves. What is discrete stays as it is: relations, and which of several equally good matchings is
    taken. There the score has a kink, and what is returned is the slope on one of its sides.

    Args:
        graphs_a: as for ``match_graph_pairs``, and so are all others.
        graphs_b: likewise.
        relation_similarity: likewise.
        config: likewise.
        threads: likewise.

    Returns:
        For every pair what ``match_graph_pairs`` returns, and the derivative of its ``score``.

    Raises:
        ValueError: as for ``match_graph_pairs``.

    Examples:
        >>> differentiate_graph_pairs([], [], relation_similarity=torch.eye(56))
        []
    """
    predicates = _read_relation_similarity(relation_similarity)
    problems = [
        (_pose(a, b, config, f"graphs_a[{k}]", f"graphs_b[{k}]"), a, b)
        for k, (a, b) in enumerate(_read_pairs(graphs_a, graphs_b, len(predicates)))
    ]
    return _in_threads(
        lambda problem: _differentiate(problem[0], problem[1], problem[2], predicates, config), problems, threads
    )


class PreparedPairs:
    """Pairs of scene graphs that are to be matched many times over, with other settings each time.

    What no setting changes, the cosines of features and the distances of positions, is computed once.

    Args:
        graphs_a: the scene graphs of some images; their features are not kept.
        graphs_b: as many others; the k-th is matched with the k-th of ``graphs_a``.
        relation_similarity: similarity of every two predicates, ``[p, p]``.

    Raises:
        ValueError: as for ``match_graph_pairs``.

    Examples:
        >>> pairs = PreparedPairs([], [], relation_similarity=torch.eye(56))
        >>> len(pairs), pairs.scores(MatchingConfig())
        (0, [])
    """

    def __init__(
        self,
        graphs_a: Sequence[SceneGraph],
        graphs_b: Sequence[SceneGraph],
        relation_similarity: Float[Tensor, "p q"],
    ) -> None:
        self._predicates = _read_relation_similarity(relation_similarity)
        self._compared = [
            _compare(a, b, f"graphs_a[{k}]", f"graphs_b[{k}]")
            for k, (a, b) in enumerate(_read_pairs(graphs_a, graphs_b, len(self._predicates)))
        ]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._compared)

    def scores(
        self,
        config: MatchingConfig,
        importance: tuple[Sequence[NDArray[np.float64]], Sequence[NDArray[np.float64]]] | None = None,
        only: Sequence[int] | None = None,
        threads: int | None = None,
    ) -> list[float]:
        """Return the scores that ``match_graph_pairs`` would give.

        Args:
            config: the settings.
            importance: of the objects of every pair's first and second graph, to count in place of their own, each
                positive and with a sum of 1.
            only: which pairs to match; by default, all of them.
            threads: how many pairs to match at a time, which changes no result; by default as many as PyTorch uses
                threads.

        Raises:
            ValueError: if ``threads`` is below 1.
        """

        def score(index: int) -> float:
            pair = self._compared[index]
            if importance is not None:
                a, b = (np.maximum(side[index], np.finfo(np.float64).tiny) for side in importance)
                pair = pair._replace(importance_a=a, importance_b=b)
            problem = _weigh(pair, config)
            similarity, plan, *_ = _match(problem, self._predicates, config, _NO_HISTORY)
            return _score(float((plan * similarity).sum()), problem.image_score, config)

        chosen = range(len(self)) if only is None else only
        # A task of its own for every pair would cost more than matching it.
        parts = [chosen[start : start + _PAIRS_AT_ONCE] for start in range(0, len(chosen), _PAIRS_AT_ONCE)]
        scored = _in_threads(lambda part: [score(index) for index in part], parts, threads)
        return [each for part in scored for each in part]


class _Nodes(NamedTuple):
    """What matching reads of a scene graph, as numpy arrays in double precision."""

    features: NDArray[np.float64]
    centers: NDArray[np.float64]
    importance: NDArray[np.float64]
    relation: NDArray[np.int64]
    image_feature: NDArray[np.float64]


class _Compared(NamedTuple):
    """Two scene graphs side by side, as far as no setting takes part in it."""

    cosine: NDArray[np.float64]
    nearness: NDArray[np.float64]
    relation_a: NDArray[np.int64]
    relation_b: NDArray[np.int64]
    importance_a: NDArray[np.float64]
    importance_b: NDArray[np.float64]
    image_cosine: float


class _Problem(NamedTuple):
    """What is left to do once features and positions have been compared."""

    similarity: NDArray[np.float64]
    relation_a: NDArray[np.int64]
    relation_b: NDArray[np.int64]
    importance_a: NDArray[np.float64]
    importance_b: NDArray[np.float64]
    image_score: float


def _array(tensor: Tensor, dtype: torch.dtype = torch.float64) -> NDArray[Any]:
    # To the CPU first: not every device knows double precision.
    return tensor.detach().cpu().to(dtype).contiguous().numpy()


def _read(graph: SceneGraph, name: str, predicates: int) -> _Nodes:
    nodes = _Nodes(
        features=_array(graph.features),
        centers=_array(graph.centers),
        importance=_array(graph.importance),
        relation=_array(graph.relation, torch.int64),
        image_feature=_array(graph.image_feature),
    )
    for field in ("features", "centers", "importance", "image_feature"):
        if not np.isfinite(getattr(nodes, field)).all():
            raise ValueError(f"`{name}.{field}` must be finite, got NaN or infinity")
    # Half precision is allowed its rounding.
    total = nodes.importance.sum()
    if nodes.importance.min() < 0 or abs(total - 1) > 0.01:
        raise ValueError(
            f"`{name}.importance` must be positive and sum to 1, got a sum of {total:g} "
            f"and a minimum of {nodes.importance.min():g}"
        )
    if nodes.relation.max() >= predicates:
        raise ValueError(
            f"`{name}.relation` must be below {predicates}, the size of `relation_similarity`, "
            f"got {nodes.relation.max()}"
        )
    # An importance that underflowed to 0 would leave neighbours without any weight to share.
    return nodes._replace(importance=np.maximum(nodes.importance, np.finfo(np.float64).tiny))


def _read_pairs(
    graphs_a: Sequence[SceneGraph], graphs_b: Sequence[SceneGraph], predicates: int
) -> list[tuple[_Nodes, _Nodes]]:
    if len(graphs_a) != len(graphs_b):
        raise ValueError(f"`graphs_a` and `graphs_b` must be as many, got {len(graphs_a)} and {len(graphs_b)}")
    return [
        (_read(a, f"graphs_a[{k}]", predicates), _read(b, f"graphs_b[{k}]", predicates))
        for k, (a, b) in enumerate(zip(graphs_a, graphs_b, strict=True))
    ]


def _read_relation_similarity(relation_similarity: Tensor) -> NDArray[np.float64]:
    shape = list(relation_similarity.shape)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"`relation_similarity` must be a square matrix, got shape {shape}")
    predicates = _array(relation_similarity)
    if not np.isfinite(predicates).all():
        raise ValueError("`relation_similarity` must be finite, got NaN or infinity")
    return predicates


def _pose(a: _Nodes, b: _Nodes, config: MatchingConfig, name_a: str, name_b: str) -> _Problem:
    return _weigh(_compare(a, b, name_a, name_b), config)


def _compare(a: _Nodes, b: _Nodes, name_a: str, name_b: str) -> _Compared:
    if a.features.shape[1] != b.features.shape[1]:
        raise ValueError(
            f"`{name_a}` and `{name_b}` must come from one encoder, "
            f"got features of {a.features.shape[1]} and {b.features.shape[1]} numbers"
        )
    if a.image_feature.shape != b.image_feature.shape:
        raise ValueError(
            f"`{name_a}` and `{name_b}` must come from one encoder, "
            f"got image features of {len(a.image_feature)} and {len(b.image_feature)} numbers"
        )
    offset = a.centers[:, None] - b.centers[None, :]
    return _Compared(
        cosine=a.features @ b.features.T,
        nearness=1 - (offset**2).sum(-1) / 2,
        relation_a=a.relation,
        relation_b=b.relation,
        importance_a=a.importance,
        importance_b=b.importance,
        image_cosine=float(a.image_feature @ b.image_feature),
    )


def _weigh(compared: _Compared, config: MatchingConfig) -> _Problem:
    alike = np.maximum(compared.cosine, config.cosine_floor)
    if config.probability_center is not None:
        alike = same_thing(alike, config.probability_center, config.probability_width)
    return _Problem(
        similarity=(1 - config.theta) * alike + config.theta * compared.nearness,
        relation_a=compared.relation_a,
        relation_b=compared.relation_b,
        importance_a=compared.importance_a,
        importance_b=compared.importance_b,
        image_score=max(compared.image_cosine, config.cosine_floor),
    )


def same_thing(cosine: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    """Return how probable it is that two regions show the same thing, by the cosine of their features.

    Args:
        cosine: of features; below 0, it counts as 0.
        center: where it is as likely as not.
        width: of the logistic curve.

    Returns:
        in [0, 1]; 0 at a cosine of 0, and 1 at 1.

    Examples:
        >>> same_thing(np.array([-0.3, 0.0, 0.5, 1.0]), center=0.5, width=0.1).round(3)
        array([0. , 0. , 0.5, 1. ])
    """
    lowest, highest = _logistic(0.0, center, width), _logistic(1.0, center, width)
    probability: NDArray[np.float64] = (_logistic(np.clip(cosine, 0, 1), center, width) - lowest) / (highest - lowest)
    return probability


def same_thing_slope(cosine: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    """Return the derivative of ``same_thing``, which is 0 for cosines below 0.

    Examples:
        >>> same_thing_slope(np.array([-0.3, 0.0, 0.5, 1.0]), center=0.5, width=0.1).round(3)
        array([0.   , 0.067, 2.534, 0.067])
    """
    lowest, highest = _logistic(0.0, center, width), _logistic(1.0, center, width)
    value = _logistic(np.maximum(cosine, 0), center, width)
    # Features of unit norm may have a cosine of a little more than 1.
    slope: NDArray[np.float64] = np.where(cosine < 0, 0, value * (1 - value) / width / (highest - lowest))
    return slope


def _logistic(value: Any, center: float, width: float) -> Any:
    return 1 / (1 + np.exp((center - value) / width))


@functools.cache
def load_kernel() -> None:
    """Load the compiled kernel, which takes half a second, before there is anything to match.

    Whatever matches loads it by itself; call this where something else can be done meanwhile.
    """
    one = SceneGraph(
        features=torch.ones(1, 1),
        centers=torch.zeros(1, 2),
        importance=torch.ones(1),
        relation=torch.full((1, 1), -1),
        confidence=torch.full((1, 1), -1.0),
        image_feature=torch.ones(1),
    )
    match_graphs(one, one, torch.ones(1, 1))


def _solve(
    problem: _Problem,
    predicates: NDArray[np.float64],
    config: MatchingConfig,
    history: NDArray[np.float64] = _NO_HISTORY,
) -> MatchResult:
    similarity, plan, matched, unmatched_a, unmatched_b = _match(problem, predicates, config, history)
    graph_score = float((plan * similarity).sum())
    return MatchResult(
        score=_score(graph_score, problem.image_score, config),
        graph_score=graph_score,
        image_score=problem.image_score,
        similarity=torch.from_numpy(similarity),
        plan=torch.from_numpy(plan),
        assignment=[(i, j) for i, j in np.argwhere(matched > 0).tolist()],
        unmatched_a=torch.from_numpy(unmatched_a),
        unmatched_b=torch.from_numpy(unmatched_b),
    )


def _match(
    problem: _Problem, predicates: NDArray[np.float64], config: MatchingConfig, history: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    # Only a caller that matches should wait for the compiler to load.
    from torchmetrics_sess.matching.kernel import match

    return match(
        problem.similarity,
        problem.relation_a,
        problem.relation_b,
        problem.importance_a,
        problem.importance_b,
        predicates,
        float(config.alpha),
        float(config.beta),
        config.iterations,
        config.update_order == "synchronous",
        config.assignment == "transport",
        float(config.slack),
        config.balance == "lower",
        history,
    )


def _score(graph_score: float, image_score: float, config: MatchingConfig) -> float:
    score = (1 - config.image_weight) * graph_score + config.image_weight * image_score
    return score if config.exponent == 1 else max(score, 0.0) ** config.exponent


def _differentiate(
    problem: _Problem, a: _Nodes, b: _Nodes, predicates: NDArray[np.float64], config: MatchingConfig
) -> tuple[MatchResult, GraphGradient]:
    from torchmetrics_sess.matching.kernel import match_gradient

    history = np.empty((config.iterations, *problem.similarity.shape))
    result = _solve(problem, predicates, config, history)
    by_similarity, by_importance, _ = match_gradient(
        result.similarity.numpy(),
        history,
        problem.relation_a,
        problem.relation_b,
        problem.importance_a,
        problem.importance_b,
        predicates,
        float(config.alpha),
        float(config.beta),
        config.update_order == "synchronous",
        config.assignment == "transport",
        float(config.slack),
        config.balance == "lower",
    )
    mean = (1 - config.image_weight) * result.graph_score + config.image_weight * result.image_score
    by_mean = 1.0 if config.exponent == 1 else config.exponent * mean ** (config.exponent - 1) if mean > 0 else 0.0
    by_similarity *= by_mean * (1 - config.image_weight)

    cosine = a.features @ b.features.T
    by_cosine = (1 - config.theta) * np.where(cosine < config.cosine_floor, 0, by_similarity)
    if config.probability_center is not None:
        by_cosine = by_cosine * same_thing_slope(cosine, config.probability_center, config.probability_width)
    towards = by_similarity[:, :, None] * (b.centers[None, :] - a.centers[:, None])
    by_image = by_mean * config.image_weight * float(a.image_feature @ b.image_feature >= config.cosine_floor)
    gradient = GraphGradient(
        features=torch.from_numpy(by_cosine @ b.features),
        centers=torch.from_numpy(config.theta * towards.sum(1)),
        importance=torch.from_numpy(by_importance * by_mean * (1 - config.image_weight)),
        image_feature=torch.from_numpy(by_image * b.image_feature),
    )
    return result, gradient


def _in_threads(function: Callable[[Any], T], problems: Sequence[Any], threads: int | None) -> list[T]:
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}")
    workers = min(threads or torch.get_num_threads(), len(problems))
    if workers <= 1:
        return [function(problem) for problem in problems]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, problems))
