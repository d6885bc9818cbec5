"""Recall of relations, against the released evaluators' numbers and against the rule spelled out."""

import functools
import math
import pickle
from pathlib import Path
from typing import Any, Literal, cast

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import MetricCollection

from torchmetrics_sess.relations import RelationRecall

DATA = Path(__file__).parents[1] / "data"
TOP_K = (20, 50, 100)
PROTOCOLS: tuple[Literal["ram", "predcls", "sgdet"], ...] = ("ram", "predcls", "sgdet")


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA / "recall_dev.npz") as arrays:
        return dict(arrays)


def golden_image(image: int) -> dict[str, Any]:
    names = {
        "scores": "scores",
        "relations": "relations",
        "masks": "masks",
        "classes": "classes",
        "pred_masks": "pred_masks",
        "pred_classes": "pred_classes",
        "pred_scores": "pred_object_scores",
    }
    return {name: torch.from_numpy(golden()[f"{image}/{stored}"]) for name, stored in names.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_golden_recall(protocol: Literal["ram", "predcls", "sgdet"]) -> None:
    metric = RelationRecall(protocol)
    for image in range(12):
        metric.update(**golden_image(image))
    values = metric.compute()
    stored = {name: float(value) for name, value in golden().items() if name.startswith(f"{protocol}/")}
    # The released code sums in float32, and in percent; so the last digits of what it says are its own.
    percent = 100 if protocol == "ram" else 1
    assert len(stored) == (3 if protocol == "ram" else 6)
    for name, expected in stored.items():
        assert values[name.partition("/")[2]].item() == pytest.approx(expected / percent, abs=1e-6, rel=0), name


def test_golden_iou_in_place_of_masks() -> None:
    by_masks, by_iou = RelationRecall("sgdet"), RelationRecall("sgdet")
    for image in range(12):
        arguments = golden_image(image)
        by_masks.update(**arguments)
        found, annotated = (arguments.pop(name).flatten(1).double() for name in ("pred_masks", "masks"))
        shared = found @ annotated.T
        union = found.sum(1)[:, None] + annotated.sum(1) - shared
        by_iou.update(iou=(shared / union).float(), **arguments)
    assert by_masks.compute() == by_iou.compute()


def recall_by_hand(protocol: str, images: list[dict[str, Any]], k: int) -> dict[str, float]:
    """Loop over everything that can be looped over."""
    recalls, pair_recalls = [], []
    shares: dict[int, list[float]] = {}
    for image in images:
        annotated = sorted(set(map(tuple, image["relations"].tolist())))
        if not annotated:
            continue
        scores = image["scores"].tolist()
        n = image["scores"].shape[1]
        weights = (
            image["pred_scores"].tolist() if protocol == "sgdet" and image["pred_scores"] is not None else [1.0] * n
        )
        ranked = []
        for s in range(n):
            for o in range(n):
                triplets = [(scores[p][s][o] * weights[s] * weights[o], s, o, p) for p in range(56) if s != o]
                ranked += triplets if protocol == "ram" else [max(triplets)] if triplets else []
        top = sorted(ranked, reverse=True)[:k]

        def same(found: int, wanted: int, image: dict[str, Any] = image) -> bool:
            if protocol != "sgdet":
                return found == wanted
            a, b = image["pred_masks"][found], image["masks"][wanted]
            iou = (a & b).sum().item() / max(1, (a | b).sum().item())
            classes = image["classes"] is None or image["pred_classes"][found] == image["classes"][wanted]
            return bool(classes) and iou >= 0.5

        hits = {t: any(same(s, t[0]) and same(o, t[1]) and p == t[2] for _, s, o, p in top) for t in annotated}
        recalls.append(sum(hits.values()) / len(hits))
        pairs = {t[:2] for t in annotated}
        pair_recalls.append(sum(any(same(s, a) and same(o, b) for _, s, o, _ in top) for a, b in pairs) / len(pairs))
        for predicate in {t[2] for t in annotated}:
            mine = [hit for t, hit in hits.items() if t[2] == predicate]
            shares.setdefault(predicate, []).append(sum(mine) / len(mine))
    mean = sum(recalls) / max(1, len(recalls))
    if protocol == "ram":
        return {f"recall@{k}": mean}
    return {
        f"R@{k}": mean,
        f"mR@{k}": sum(sum(values) / len(values) for values in shares.values()) / 56,
        f"pair@{k}": sum(pair_recalls) / max(1, len(pair_recalls)),
    }


def made_up(generator: torch.Generator, protocol: str, with_classes: bool) -> dict[str, Any]:
    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    g, n = int(integers(6, 1)) + 1, int(integers(6, 1))
    n = n if protocol == "sgdet" else g
    masks = torch.rand(g, 3, 4, generator=generator) < 0.4
    return {
        # 56 n² different numbers: no ties.
        "scores": torch.randperm(56 * n * n, generator=generator).view(56, n, n).double() / (56 * n * n + 1),
        "relations": torch.stack([integers(g, 12), integers(g, 12), integers(3, 12)], 1)[: int(integers(13, 1))],
        "masks": masks,
        "classes": integers(2, g) if with_classes else None,
        "pred_masks": masks[integers(g, n)] ^ (torch.rand(n, 3, 4, generator=generator) < 0.1),
        "pred_classes": integers(2, n) if with_classes else None,
        "pred_scores": torch.rand(n, generator=generator).double() if protocol == "sgdet" else None,
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(seed=st.integers(0, 2**20), count=st.integers(0, 3), k=st.sampled_from([1, 3, 20]), classes=st.booleans())
@settings(deadline=None, max_examples=25)
def test_recall_is_the_rule_spelled_out(
    protocol: Literal["ram", "predcls", "sgdet"], seed: int, count: int, k: int, classes: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = [made_up(generator, protocol, classes) for _ in range(count + 1)]
    metric = RelationRecall(protocol, top_k=k)
    for image in images:
        metric.update(**image)
    values = {name.removeprefix("class_agnostic_"): value.item() for name, value in metric.compute().items()}
    assert values == pytest.approx(recall_by_hand(protocol, images, k), abs=1e-9)


def test_without_classes_the_number_says_so() -> None:
    agnostic, with_classes = RelationRecall("sgdet"), RelationRecall("sgdet")
    for image in range(12):
        arguments = golden_image(image)
        with_classes.update(**arguments)
        agnostic.update(**(arguments | {"classes": None, "pred_classes": None}))
    values = agnostic.compute()
    assert set(values) == {f"class_agnostic_{name}@{k}" for name in ("R", "mR", "pair") for k in TOP_K}
    assert values["class_agnostic_R@100"] > with_classes.compute()["R@100"]
    with pytest.raises(ValueError, match="`classes` must be given for all images or for none"):
        agnostic.update(**golden_image(0))
    assert agnostic.compute() == values


def test_images_without_relations_do_not_count() -> None:
    metric = RelationRecall("predcls")
    metric.update(**golden_image(3))
    before = metric.compute()
    metric.update(torch.rand(56, 4, 4), torch.zeros(0, 3, dtype=torch.int64))
    metric.update(torch.rand(56, 0, 0), torch.zeros(0, 3, dtype=torch.int64))
    assert metric.compute() == before


def test_manners_of_a_metric() -> None:
    metric = RelationRecall("predcls", top_k=(5, 20))
    batch = metric(**golden_image(0))
    assert batch == metric.compute()
    metric(**golden_image(1))
    assert metric.compute() != batch
    copy = pickle.loads(pickle.dumps(metric))  # noqa: S301
    assert copy.compute() == metric.compute()
    metric.half()
    assert copy.compute() == metric.compute()
    assert metric.set_dtype(torch.float32).compute()["R@5"].dtype == torch.float32
    figure, _ = metric.plot()
    assert figure.axes
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert all(value == 0 for value in metric.compute().values())
    assert not metric.state_dict()


def test_a_collection_keeps_protocols_apart() -> None:
    """Although they agree on the first image, where everything is found."""
    collection = MetricCollection({protocol: RelationRecall(protocol, top_k=100) for protocol in ("ram", "predcls")})
    scores = torch.zeros(56, 2, 2)
    scores[4, 0, 1] = 0.9
    collection.update(scores, torch.tensor([[0, 1, 4]]))
    arguments = golden_image(10)
    collection.update(arguments["scores"], arguments["relations"])
    alone = RelationRecall("predcls", top_k=100)
    alone.update(scores, torch.tensor([[0, 1, 4]]))
    alone.update(arguments["scores"], arguments["relations"])
    assert collection.compute()["R@100"] == alone.compute()["R@100"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": torch.zeros(55, 3, 3)}, r"`scores` must be \[56, n, n\], got \[55, 3, 3\]"),
        ({"scores": torch.zeros(56, 3, 3, dtype=torch.int64)}, "`scores` must be floating point"),
        ({"scores": torch.full((56, 3, 3), math.nan)}, "`scores` must be finite"),
        ({"relations": torch.tensor([[0, 3, 1]])}, "`relations` must be .* objects below 3"),
        ({"relations": torch.tensor([[0, 1, 56]])}, "`relations` must be .* predicates below 56"),
        ({"relations": torch.zeros(3, dtype=torch.int64)}, r"`relations` must be integers \[m, 3\]"),
        ({"masks": None}, "`masks` is needed by the protocol 'sgdet'"),
        ({"masks": torch.zeros(3, 24, 24)}, "`masks` must be bool"),
        ({"pred_masks": torch.zeros(2, 24, 24, dtype=torch.bool)}, r"`pred_masks` must be \[3, 24, 24\].*got \[2"),
        ({"classes": None}, "`classes` and `pred_classes` go together"),
        ({"pred_classes": torch.zeros(4, dtype=torch.int64)}, r"`pred_classes` must be \[3\].*got \[4\]"),
        ({"pred_scores": torch.zeros(2)}, r"`pred_scores` must be \[3\].*got \[2\]"),
        ({"iou": torch.zeros(2, 3)}, r"`iou` must be \[3, annotated objects\], got \[2, 3\]"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    # What `update` calls: its own annotations are checked in tests, but not where users are.
    with pytest.raises(ValueError, match=message):
        RelationRecall("sgdet")._update(**({"iou": None} | golden_image(0) | change))


def test_a_failed_update_changes_nothing() -> None:
    metric = RelationRecall("ram")
    metric.update(**golden_image(1))
    before = metric.compute()
    with pytest.raises(ValueError, match=r"`relations` must be .* objects below 3"):
        metric.update(**(golden_image(0) | {"relations": torch.tensor([[0, 3, 1]])}))
    assert metric.compute() == before
    assert metric.update_count == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": ()}, r"`top_k` must be .* got \(\)"),
        ({"top_k": 0}, "`top_k` must be .* got 0"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelationRecall(**arguments)


def test_what_is_of_a_wrong_type_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for top_k in (1.5, "a", (20, 50.0)):
        with pytest.raises(TypeError, match="`top_k` must be one or several whole numbers, got"):
            RelationRecall(top_k=cast(Any, top_k))
    metric = RelationRecall()
    with pytest.raises(TypeError, match="`scores` must be a tensor, got ndarray"):
        metric.update(**(golden_image(0) | {"scores": golden_image(0)["scores"].numpy()}))
    with pytest.raises(TypeError, match="`relations` must be a tensor, got list"):
        metric.update(**(golden_image(0) | {"relations": [[0, 1, 2]]}))
    assert metric.update_count == 0
