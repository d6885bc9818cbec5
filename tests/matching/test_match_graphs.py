"""Golden numbers of the released code, agreement with plain scipy, and the laws that a similarity has to obey."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.shared import matching_oracle
from benchmarks.shared.matching_oracle import random_graph, random_relation_similarity
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.matching import MatchingConfig, MatchResult, match_graph_pairs, match_graphs
from torchmetrics_sess.matching.config import Assignment, Balance, UpdateOrder
from torchmetrics_sess.matching.pairs import same_thing

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "matching_dev.npz")
KNOWN = torch.from_numpy(random_relation_similarity(0))

laws = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)
orders = st.sampled_from(get_args(UpdateOrder))
slacks = st.sampled_from([0.0, 0.25, 1.0, 9.0])
balances = st.sampled_from(get_args(Balance))
assignments = st.sampled_from(get_args(Assignment))


@st.composite
def graphs(draw: st.DrawFn, nodes: int = 9) -> SceneGraph:
    """Draw graphs of one object or many, unrelated or all related, of similar or vanishing importances."""
    n = draw(st.integers(1, nodes))
    edges = draw(st.sampled_from([0, n, n * n]))
    return random_graph(n, edges, draw(seeds), spread=draw(st.sampled_from([1, 12])))


def golden_graph(case: int, side: str) -> SceneGraph:
    tensors = {
        name: torch.from_numpy(GOLDEN[f"{case}/{side}/{name}"])
        for name in ("features", "centers", "importance", "relation", "confidence")
    }
    return SceneGraph(**tensors, image_feature=torch.zeros(tensors["features"].shape[1], dtype=torch.float64))


def permuted(graph: SceneGraph, order: list[int]) -> SceneGraph:
    return dataclasses.replace(
        graph,
        features=graph.features[order],
        centers=graph.centers[order],
        importance=graph.importance[order],
        relation=graph.relation[order][:, order],
        confidence=graph.confidence[order][:, order],
    )


def score(a: SceneGraph, b: SceneGraph, known: Tensor = KNOWN, **changes: Any) -> float:
    return match_graphs(a, b, known, MatchingConfig(**changes)).score


@pytest.mark.parametrize("order", get_args(UpdateOrder))
@pytest.mark.parametrize("case", range(12))
def test_golden_numbers(case: int, order: UpdateOrder) -> None:
    known = torch.from_numpy(GOLDEN["relation_similarity"])
    result = match_graphs(golden_graph(case, "a"), golden_graph(case, "b"), known, MatchingConfig(update_order=order))
    assert result.graph_score == pytest.approx(float(GOLDEN[f"{case}/score_{order}"]), abs=1e-9)
    expected = torch.from_numpy(GOLDEN[f"{case}/similarity_{order}"])
    torch.testing.assert_close(result.similarity, expected, rtol=0, atol=1e-9)


@laws
@given(graphs(), graphs(), orders, st.sampled_from([-1.0, 0.0, 0.2]))
def test_agrees_with_plain_scipy(a: SceneGraph, b: SceneGraph, order: UpdateOrder, floor: float) -> None:
    config = MatchingConfig(update_order=order, alpha=0.4, beta=0.3, cosine_floor=floor)
    result = match_graphs(a, b, KNOWN, config)
    graph_score, similarity = matching_oracle.match(a, b, KNOWN.numpy(), config)
    assert result.graph_score == pytest.approx(graph_score, abs=1e-12)
    np.testing.assert_allclose(result.similarity, similarity, rtol=0, atol=1e-12)


@settings(laws, max_examples=15)
@given(graphs(nodes=4), graphs(nodes=4), orders, slacks, balances, st.sampled_from([None, 0.0, 0.45]))
def test_transport_agrees_with_linear_programming(
    a: SceneGraph, b: SceneGraph, order: UpdateOrder, slack: float, balance: Balance, center: float | None
) -> None:
    config = MatchingConfig(
        update_order=order,
        alpha=0.4,
        beta=0.3,
        iterations=2,
        assignment="transport",
        slack=slack,
        balance=balance,
        probability_center=center,
    )
    result = match_graphs(a, b, KNOWN, config)
    graph_score, similarity = matching_oracle.match(a, b, KNOWN.numpy(), config)
    assert result.graph_score == pytest.approx(graph_score, abs=1e-9)
    np.testing.assert_allclose(result.similarity, similarity, rtol=0, atol=1e-9)


def crowd(nodes: int, seed: int, spread: float, ties: bool) -> SceneGraph:
    graph = random_graph(nodes, 0, seed, spread=spread)
    if not ties:
        return graph
    # Cosines are 0 or 1, and no positions tell equal ones apart.
    kind = graph.features.argmax(1) % 4
    features = torch.nn.functional.one_hot(kind, 16).double()
    return dataclasses.replace(graph, features=features, centers=torch.zeros_like(graph.centers))


@laws
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 1, 6]), st.booleans(), seeds, slacks, balances)
def test_transport_is_optimal(
    rows: int, columns: int, spread: int, ties: bool, seed: int, slack: float, balance: Balance
) -> None:
    a, b = crowd(rows, seed, spread, ties), crowd(columns, seed + 1, spread, ties)
    config = MatchingConfig(iterations=0, assignment="transport", slack=slack, balance=balance)
    result = match_graphs(a, b, KNOWN, config)
    similarity, w, v = result.similarity.numpy(), a.importance.numpy(), b.importance.numpy()
    best = [matching_oracle.transport(similarity, w, v, slack), matching_oracle.transport(similarity.T, v, w, slack)]
    expected = min(best) if balance == "lower" else sum(best) / 2
    assert result.graph_score == pytest.approx(expected, abs=1e-9)
    assert (result.plan * result.similarity).sum() == pytest.approx(result.graph_score, abs=1e-12)


def test_what_is_missing_and_what_was_added_both_count() -> None:
    def things(*kinds: int) -> SceneGraph:
        n = len(kinds)
        return SceneGraph(
            features=torch.eye(4, dtype=torch.float64)[list(kinds)],
            centers=torch.full((n, 2), 0.5, dtype=torch.float64),
            importance=torch.full((n,), 1 / n, dtype=torch.float64),
            relation=torch.full((n, n), -1),
            confidence=torch.full((n, n), -1.0),
            image_feature=torch.ones(1, dtype=torch.float64),
        )

    how: dict[str, Any] = {"assignment": "transport", "slack": 9.0, "theta": 0.0, "iterations": 0, "image_weight": 0.0}
    for a, b in ((things(0, 1), things(0)), (things(0), things(0, 1))):
        assert score(a, b, balance="mean", **how) == pytest.approx(0.75)
        assert score(a, b, balance="lower", **how) == pytest.approx(0.5)
        assert score(a, b, balance="lower", exponent=3.0, **how) == pytest.approx(0.125)


@laws
@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_probability_rises_with_the_cosine_from_0_to_1(
    center: float, width: float, first: float, second: float
) -> None:
    low, high = sorted((first, second))
    lowest, p_low, p_high, highest = same_thing(np.array([0.0, low, high, 1.0]), center, width)
    assert lowest == 0 <= p_low <= p_high <= 1 == pytest.approx(highest)


@laws
@given(graphs(), graphs(), graphs(), st.floats(0.5, 4))
def test_an_exponent_changes_no_order(a: SceneGraph, b: SceneGraph, c: SceneGraph, exponent: float) -> None:
    plain = [score(a, other) for other in (a, b, c)]
    raised = [score(a, other, exponent=exponent) for other in (a, b, c)]
    assert raised[0] == pytest.approx(1, abs=1e-11)
    assert raised == pytest.approx([max(value, 0) ** exponent for value in plain])


@laws
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 1, 300]), st.booleans(), seeds)
def test_transport_spends_every_mass(rows: int, columns: int, spread: int, ties: bool, seed: int) -> None:
    a, b = crowd(rows, seed, spread, ties), crowd(columns, seed + 1, spread, ties)
    plan = match_graphs(a, b, KNOWN, MatchingConfig(iterations=0, assignment="transport")).plan
    assert plan.min() >= 0
    assert plan.sum() == 1  # to the last bit: masses are whole multiples of 2^-52
    torch.testing.assert_close(plan.sum(1), a.importance, rtol=0, atol=1e-14)
    torch.testing.assert_close(plan.sum(0), b.importance, rtol=0, atol=1e-14)


@laws
@given(graphs(), orders, assignments, slacks)
def test_a_graph_against_itself_scores_one(
    graph: SceneGraph, order: UpdateOrder, assignment: Assignment, slack: float
) -> None:
    config = MatchingConfig(update_order=order, assignment=assignment, slack=slack)
    result = match_graphs(graph, graph, KNOWN, config)
    assert (result.score, result.graph_score, result.image_score) == pytest.approx((1, 1, 1), abs=1e-12)
    assert result.similarity.diagonal().numpy() == pytest.approx(1, abs=1e-12)


@laws
@given(graphs(), graphs(), assignments, st.randoms(use_true_random=False))
def test_the_order_of_objects_means_nothing(a: SceneGraph, b: SceneGraph, assignment: Assignment, random: Any) -> None:
    order_a, order_b = list(range(len(a))), list(range(len(b)))
    random.shuffle(order_a)
    random.shuffle(order_b)
    config = MatchingConfig(update_order="synchronous", assignment=assignment)
    before = match_graphs(a, b, KNOWN, config)
    after = match_graphs(permuted(a, order_a), permuted(b, order_b), KNOWN, config)
    assert after.score == pytest.approx(before.score, abs=1e-12)
    torch.testing.assert_close(after.similarity, before.similarity[order_a][:, order_b], rtol=0, atol=1e-12)


@laws
@given(graphs(), graphs(), assignments)
def test_synchronous_updates_are_symmetric(a: SceneGraph, b: SceneGraph, assignment: Assignment) -> None:
    config = MatchingConfig(update_order="synchronous", assignment=assignment)
    there, back = match_graphs(a, b, KNOWN, config), match_graphs(b, a, KNOWN, config)
    assert there.score == pytest.approx(back.score, abs=1e-12)
    torch.testing.assert_close(there.similarity, back.similarity.T, rtol=0, atol=1e-12)


@laws
@given(graphs(), graphs(), orders, assignments, slacks)
def test_similarities_in_the_unit_interval_give_scores_in_it(
    a: SceneGraph, b: SceneGraph, order: UpdateOrder, assignment: Assignment, slack: float
) -> None:
    config = MatchingConfig(update_order=order, assignment=assignment, slack=slack, cosine_floor=0.0)
    result = match_graphs(a, b, KNOWN.clamp(min=0), config)
    for value in (result.score, result.graph_score, result.image_score):
        assert -1e-12 <= value <= 1 + 1e-12


@laws
@given(graphs(), graphs(), orders, assignments, seeds)
def test_more_similar_predicates_or_features_never_lower_the_score(
    a: SceneGraph, b: SceneGraph, order: UpdateOrder, assignment: Assignment, seed: int
) -> None:
    how: dict[str, Any] = {"update_order": order, "assignment": assignment, "alpha": 0.5, "beta": 0.5}
    gain = torch.rand(KNOWN.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    before = score(a, b, **how)
    assert score(a, b, KNOWN + gain, **how) >= before - 1e-12
    assert score(a, b, cosine_floor=0.1, **how) >= before - 1e-12


def test_more_similar_predicates_raise_the_score_of_related_objects() -> None:
    a, b = random_graph(8, 20, 0), random_graph(8, 20, 1)
    for assignment in get_args(Assignment):
        assert score(a, b, KNOWN + 0.5, assignment=assignment) > score(a, b, assignment=assignment) + 1e-3


@laws
@given(graphs(), graphs(), orders)
def test_slack_never_lowers_the_score_and_forgives_shifted_importance(
    a: SceneGraph, b: SceneGraph, order: UpdateOrder
) -> None:
    how: dict[str, Any] = {"update_order": order, "assignment": "transport"}
    tight, loose = score(a, b, **how), score(a, b, slack=0.5, **how)
    assert loose >= tight - 1e-12
    shifted = dataclasses.replace(a, importance=(a.importance * torch.linspace(0.9, 1.1, len(a))))
    shifted = dataclasses.replace(shifted, importance=shifted.importance / shifted.importance.sum())
    assert score(a, shifted, slack=0.5, **how) == pytest.approx(1, abs=1e-9)


@laws
@given(st.integers(1, 8), st.integers(1, 8), seeds, st.floats(0.01, 0.99))
def test_transport_does_not_mind_an_object_in_two_parts(rows: int, columns: int, seed: int, part: float) -> None:
    a, b = random_graph(rows, 0, seed), random_graph(columns, 0, seed + 1)
    split = permuted(a, [*range(rows), 0])
    importance = split.importance.clone()
    importance[0] *= part
    importance[-1] *= 1 - part
    split = dataclasses.replace(split, importance=importance)
    assert score(split, b, assignment="transport") == pytest.approx(score(a, b, assignment="transport"), abs=1e-12)


@laws
@given(graphs(), graphs(), orders, assignments)
def test_the_plan_explains_the_graph_score(
    a: SceneGraph, b: SceneGraph, order: UpdateOrder, assignment: Assignment
) -> None:
    config = MatchingConfig(update_order=order, assignment=assignment, image_weight=0.2)
    result = match_graphs(a, b, KNOWN, config)
    assert float((result.plan * result.similarity).sum()) == pytest.approx(result.graph_score, abs=1e-12)
    assert result.score == pytest.approx(0.8 * result.graph_score + 0.2 * result.image_score, abs=1e-12)
    assert result.image_score == pytest.approx(float(a.image_feature @ b.image_feature), abs=1e-12)
    if assignment == "transport":
        assert set(result.assignment) == {(i, j) for i, j in result.plan.nonzero().tolist()}
    else:
        rows, columns = zip(*result.assignment, strict=True)
        assert len(rows) == len(set(rows)) == len(set(columns)) == min(len(a), len(b))


def test_the_assignment_weighs_both_importances() -> None:
    a, b = random_graph(12, 30, 0), random_graph(9, 20, 1)
    result = match_graphs(a, b, KNOWN)
    weight = (12 * a.importance[:, None] + 9 * b.importance) / 21
    best, _ = matching_oracle.assign((weight * result.similarity).numpy(), np.ones(12), np.ones(9))
    assert sum(float((weight * result.similarity)[pair]) for pair in result.assignment) == pytest.approx(
        best, abs=1e-12
    )


def test_objects_without_importance_cost_nothing() -> None:
    a, b = random_graph(6, 30, 0), random_graph(6, 30, 1)
    importance = torch.zeros(6, dtype=torch.float64)
    importance[0] = 1
    a = dataclasses.replace(a, importance=importance)
    for assignment in get_args(Assignment):
        assert 0 < score(a, b, assignment=assignment, cosine_floor=0.0) < 1


def assert_same(one: MatchResult, other: MatchResult) -> None:
    assert (one.score, one.graph_score, one.image_score) == (other.score, other.graph_score, other.image_score)
    assert one.similarity.equal(other.similarity)
    assert one.plan.equal(other.plan)
    assert one.assignment == other.assignment


@pytest.mark.parametrize("assignment", get_args(Assignment))
def test_neither_threads_nor_company_change_a_result(assignment: Assignment) -> None:
    config = MatchingConfig(assignment=assignment)
    graphs_a = [random_graph(n, 3 * n, n) for n in range(1, 20)]
    graphs_b = [random_graph(21 - n, 2 * n, 100 + n) for n in range(1, 20)]
    alone = [match_graphs(a, b, KNOWN, config) for a, b in zip(graphs_a, graphs_b, strict=True)]
    for threads in (None, 1, 2, 7, 50):
        together = match_graph_pairs(graphs_a, graphs_b, KNOWN, config, threads)
        assert len(together) == len(alone)
        for one, other in zip(alone, together, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_floating_dtype_is_computed_in_double(dtype: torch.dtype) -> None:
    a, b = random_graph(9, 20, 0).to(dtype), random_graph(7, 20, 1).to(dtype)
    result = match_graphs(a, b, KNOWN.to(dtype))
    assert_same(result, match_graphs(a.to(torch.float64), b.to(torch.float64), KNOWN.to(dtype).double()))
    assert result.similarity.dtype == result.plan.dtype == torch.float64


def test_gradients_and_strides_do_not_disturb() -> None:
    a, b = random_graph(9, 20, 0), random_graph(7, 20, 1)
    awkward = dataclasses.replace(
        a, features=a.features.T.contiguous().T.requires_grad_(), relation=a.relation.T.contiguous().T.to(torch.int32)
    )
    assert_same(match_graphs(awkward, b, KNOWN.T), match_graphs(a, b, KNOWN.T.contiguous()))


def with_value(graph: SceneGraph, name: str, value: float) -> SceneGraph:
    tensor = getattr(graph, name).clone()
    tensor.view(-1)[-1] = value
    return dataclasses.replace(graph, **{name: tensor})


@pytest.mark.parametrize("name", ["features", "centers", "importance", "image_feature"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(name: str, value: float) -> None:
    good = random_graph(3, 2, 0)
    bad = with_value(good, name, value)
    with pytest.raises(ValueError, match=rf"`b\.{name}` must be finite"):
        match_graphs(good, bad, KNOWN)
    with pytest.raises(ValueError, match=rf"`graphs_a\[1\]\.{name}` must be finite"):
        match_graph_pairs([good, bad], [good, good], KNOWN)


@pytest.mark.parametrize(("name", "value"), [("importance", 2.0), ("importance", -0.1)])
def test_importance_must_be_a_distribution(name: str, value: float) -> None:
    good = random_graph(3, 2, 0)
    with pytest.raises(ValueError, match=r"`a\.importance` must be positive and sum to 1, got"):
        match_graphs(with_value(good, name, value), good, KNOWN)


def test_a_predicate_beyond_the_known_ones_is_refused() -> None:
    good = random_graph(3, 2, 0)
    with pytest.raises(ValueError, match=r"`b\.relation` must be below 56, .* got 56"):
        match_graphs(good, with_value(good, "relation", 56), KNOWN)


def test_relation_similarity_must_be_a_finite_square() -> None:
    good = random_graph(3, 2, 0)
    with pytest.raises(ValueError, match=r"`relation_similarity` must be a square matrix, got shape \[56, 55\]"):
        match_graphs(good, good, KNOWN[:, :55])
    with pytest.raises(ValueError, match="`relation_similarity` must be finite"):
        match_graphs(good, good, KNOWN / 0)


def test_graphs_of_different_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="`a` and `b` must come from one encoder, got features of 16 and 8 numbers"):
        match_graphs(random_graph(3, 2, 0), random_graph(3, 2, 0, dimensions=8), KNOWN)


def test_pairs_must_pair_up() -> None:
    good = random_graph(3, 2, 0)
    with pytest.raises(ValueError, match="`graphs_a` and `graphs_b` must be as many, got 1 and 2"):
        match_graph_pairs([good], [good, good], KNOWN)
    with pytest.raises(ValueError, match="`threads` must be at least 1, got 0"):
        match_graph_pairs([good], [good], KNOWN, threads=0)
