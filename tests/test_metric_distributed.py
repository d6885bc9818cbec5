"""The value that several processes agree on is that of one process, whoever saw which images, or none at all."""

from __future__ import annotations

import datetime
import functools
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.distributed
from fork_server import SERVER
from small_lite import Codec
from stub_extractor import stub_images, stub_preset
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torchmetrics import MetricCollection
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, PeakSignalNoiseRatio

from torchmetrics_sess.metric import SemanticSimilarityScore

PREDS, TARGET = stub_images(9, seed=1), stub_images(9, seed=2)
# The batches that every process sees, by run; in the first, the third process has no part.
RUNS = {
    "two": [[slice(0, 3), slice(3, 4)], [slice(4, 9)]],
    "three, one idle": [[slice(0, 2), slice(2, 3)], [], [slice(3, 9)]],
}
REDUCTIONS: tuple[Literal["mean", "sum", "none"], ...] = ("mean", "sum", "none")


def metrics() -> dict[str, Any]:
    """Return one metric per reduction, and a collection in which they share their extraction."""
    ours: dict[str, SemanticSimilarityScore] = {
        reduction: SemanticSimilarityScore(stub_preset(), reduction=reduction) for reduction in REDUCTIONS
    }
    others = {
        "psnr": PeakSignalNoiseRatio(data_range=1.0),
        "ms_ssim": MultiScaleStructuralSimilarityIndexMeasure(
            gaussian_kernel=False, kernel_size=3, betas=(0.5, 0.5), data_range=1.0
        ),
    }
    collection = MetricCollection({**{name: metric.clone() for name, metric in ours.items()}, **others})
    return {**ours, "collection": collection}


def measure(metrics: dict[str, Any], batches: list[slice]) -> dict[str, Any]:
    """Do what a validation loop does, on the batches of one process."""
    values: dict[str, Any] = {}
    for name, metric in metrics.items():
        for batch in batches:
            metric.update(PREDS[batch], TARGET[batch])
        values[name] = metric.compute()
    values["interval"] = metrics["none"].confidence_interval()
    # Having agreed, every process goes on with what is its own.
    metrics["none"].update(PREDS[:1], PREDS[:1])
    values["more"] = metrics["none"].compute()
    metrics["none"].reset()
    values["nothing at all"] = metrics["none"].compute()
    return values


def measure_as_member(rank: int, run: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """Do so in one of several processes, and what only they can do."""
    size = len(RUNS[run])
    group = torch.distributed.new_group(list(range(size)))
    if rank >= size:
        return {}
    for metric in [*(metrics[name] for name in REDUCTIONS), *metrics["collection"].values(copy_state=False)]:
        metric.process_group = group
    values = measure(metrics, RUNS[run][rank])
    on_step = SemanticSimilarityScore(stub_preset(), dist_sync_on_step=True, process_group=group)
    values["steps"] = [on_step(PREDS[i : i + size][rank::size], TARGET[i : i + size][rank::size]) for i in (0, 3)]
    values["all steps"] = on_step.compute()
    alone = SemanticSimilarityScore(stub_preset(), sync_on_compute=False, process_group=group)
    alone.update(PREDS[rank : rank + 1], TARGET[rank : rank + 1])
    values["alone"] = alone.compute()
    return values


def gradients_as_member(rank: int) -> dict[str, Tensor]:
    """Return what a codec learns from its loss with images shared out among the processes, by the way of sharing."""
    found = {}
    for name, wrap in (("ddp", DistributedDataParallel), ("fsdp", fully_shard)):
        codec = Codec(torch.float64)
        wrapped: Any = wrap(codec)
        wrapped(TARGET[rank::3].double()).backward()
        gradient: Any = codec.layer.weight.grad
        found[name] = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
    return found


def take_part(rank: int, folder: Path, metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Be one of three processes, and return what it finds, by run."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*was called before the ``update``.*")
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=3,
        timeout=datetime.timedelta(seconds=60),
    )
    found = {run: measure_as_member(rank, run, metrics[run]) for run in RUNS}
    found["learning"] = gradients_as_member(rank)
    torch.distributed.destroy_process_group()
    return found


@pytest.fixture(scope="module")
def all_outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """What every process found, by run."""
    folder = tmp_path_factory.mktemp("processes")
    task = functools.partial(take_part, folder=folder, metrics={run: metrics() for run in RUNS})
    with ProcessPoolExecutor(3, mp_context=SERVER) as processes:
        return list(processes.map(task, range(3)))


@pytest.fixture(scope="module", params=list(RUNS))
def run(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def outcomes(run: str, all_outcomes: list[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """What every process of a run found."""
    return [found[run] for found in all_outcomes[: len(RUNS[run])]]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What one process finds that sees all images."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was called before the ``update``.*")
        return measure(metrics(), [slice(0, 4), slice(4, 9)])


@pytest.fixture(scope="module")
def scores(expected: dict[str, Any]) -> Tensor:
    value: Tensor = expected["none"]
    return value


@pytest.mark.parametrize("name", [*REDUCTIONS, "interval", "nothing at all"])
def test_same_value_on_all_processes(name: str, outcomes: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    for values in outcomes:
        torch.testing.assert_close(values[name], expected[name], rtol=0, atol=0)


def test_each_process_goes_on_with_its_own(outcomes: list[dict[str, Any]], run: str, scores: Tensor) -> None:
    one = torch.ones(1)
    more = torch.cat([torch.cat([*(scores[batch] for batch in batches), one]) for batches in RUNS[run]])
    for values in outcomes:
        assert torch.equal(values["more"], more)


def test_collection(outcomes: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    for values in outcomes:
        for name, value in values["collection"].items():
            ours = name in REDUCTIONS
            torch.testing.assert_close(
                value, expected["collection"][name], rtol=0 if ours else 1e-5, atol=0 if ours else 1e-6
            )


def test_synchronised_on_every_step(outcomes: list[dict[str, Any]], scores: Tensor) -> None:
    world = len(outcomes)
    steps = [scores[i : i + world].mean() for i in (0, 3)]
    for values in outcomes:
        torch.testing.assert_close(values["steps"], steps, rtol=0, atol=1e-7)
        torch.testing.assert_close(values["all steps"], torch.stack(steps).mean(), rtol=0, atol=1e-7)


def test_not_synchronised(outcomes: list[dict[str, Any]], scores: Tensor) -> None:
    for rank, values in enumerate(outcomes):
        torch.testing.assert_close(values["alone"], scores[rank], rtol=0, atol=1e-7)


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_learning_from_the_loss(way: str, all_outcomes: list[dict[str, dict[str, Any]]]) -> None:
    # In single precision, the order of sums alone changes so small a gradient by 5e-5.
    codec = Codec(torch.float64)
    codec(TARGET.double()).backward()
    for found in all_outcomes:
        torch.testing.assert_close(found["learning"][way], codec.layer.weight.grad, rtol=1e-6, atol=1e-7)
