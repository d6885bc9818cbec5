"""The recall that several processes agree on is that of one, bit for bit, whoever saw which images, or none at all."""

from __future__ import annotations

import datetime
import functools
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from fork_server import SERVER

from torchmetrics_sess.relations import RelationRecall

DATA = Path(__file__).parents[1] / "data"
SHARES = {"two": (range(5), range(5, 12)), "three, one idle": (range(0, 9, 2), range(0), (*range(1, 9, 2), 9, 10, 11))}


def metrics() -> dict[str, RelationRecall]:
    return {protocol: RelationRecall(protocol) for protocol in ("ram", "predcls", "sgdet")}


def measure(images: Any, group: Any = None) -> dict[str, dict[str, float]]:
    with np.load(DATA / "recall_dev.npz") as arrays:
        names = ("scores", "relations", "masks", "classes", "pred_masks", "pred_classes", "pred_object_scores")
        cases = [[torch.from_numpy(arrays[f"{image}/{name}"]) for name in names] for image in images]
    values = {}
    for protocol, metric in metrics().items():
        metric.process_group = group
        for case in cases:
            metric.update(*case)
        values[protocol] = {name: value.item() for name, value in metric.compute().items()}
    return values


def take_part(rank: int, folder: Path) -> dict[str, Any]:
    """Be one of three processes."""
    import warnings

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*was called before the ``update``.*")
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=3,
        timeout=datetime.timedelta(seconds=60),
    )
    found = {}
    for run, shares in SHARES.items():
        group = torch.distributed.new_group(list(range(len(shares))))
        if rank < len(shares):
            found[run] = measure(shares[rank], group)
    torch.distributed.destroy_process_group()
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    task = functools.partial(take_part, folder=tmp_path_factory.mktemp("processes"))
    with ProcessPoolExecutor(3, mp_context=SERVER) as processes:
        return list(processes.map(task, range(3)))


@pytest.mark.parametrize("run", SHARES)
def test_several_processes_are_one(run: str, outcomes: list[dict[str, Any]]) -> None:
    expected = measure(range(12))
    assert all(0 < value <= 1 for values in expected.values() for value in values.values())
    for outcome in outcomes[: len(SHARES[run])]:
        assert outcome[run] == expected
