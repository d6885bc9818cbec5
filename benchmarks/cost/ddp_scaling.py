"""How much faster several processes score the same images than one: one core and one thread each.

    python -m benchmarks.cost.ddp_scaling [--processes 1 2] [--pairs 32] [--preset lite]

The time is that of a validation epoch: all updates and the synchronised ``compute``, from when all processes are ready
to when the last has the value; the best of several epochs.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from benchmarks.shared.reporting import write_results
from torchmetrics_sess import SemanticSimilarityScore

BATCH = 4
EPOCHS = 3


def take_part(rank: int, processes: int, pairs: int, preset: str, folder: Path) -> dict[str, float]:
    """Score every ``processes``-th batch, as a distributed sampler would hand them out; return time and score."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=processes
    )
    target = torch.rand(pairs, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    preds = (target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    metric = SemanticSimilarityScore(preset)
    metric.update(preds[:1], target[:1])

    seconds, value = [], torch.tensor(0.0)
    for _ in range(EPOCHS):
        metric.reset()
        torch.distributed.barrier()
        start = time.perf_counter()
        for batch in list(range(0, pairs, BATCH))[rank::processes]:
            metric.update(preds[batch : batch + BATCH], target[batch : batch + BATCH])
        value = metric.compute()
        torch.distributed.barrier()
        seconds.append(time.perf_counter() - start)
    torch.distributed.destroy_process_group()
    return {"seconds": min(seconds), "score": value.item()}


def measure(processes: int, pairs: int, preset: str) -> dict[str, Any]:
    """Return one line of the table."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        task = functools.partial(take_part, processes=processes, pairs=pairs, preset=preset, folder=Path(folder))
        first, *_ = pool.map(task, range(processes))
    return {"processes": processes, "pairs": pairs, "preset": preset, **first}


def main() -> None:
    """Print the table and write it to ``results/ddp_scaling.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many processes, one run each")
    parser.add_argument("--pairs", type=int, default=32, help="pairs of images in all")
    parser.add_argument("--preset", default="lite")
    arguments = parser.parse_args()

    print(f"{arguments.pairs} pairs of 256 x 256, batches of {BATCH}, preset {arguments.preset}")
    print(f"{'processes':>9} {'seconds':>8} {'pairs/s':>8} {'speed-up':>8} {'score':>9}")
    rows: list[dict[str, Any]] = []
    for processes in arguments.processes:
        row = measure(processes, arguments.pairs, arguments.preset)
        rows.append(row)
        row["speed_up"] = rows[0]["seconds"] * rows[0]["processes"] / row["seconds"]
        print(
            f"{processes:9d} {row['seconds']:8.2f} {row['pairs'] / row['seconds']:8.2f} {row['speed_up']:8.2f} "
            f"{row['score']:9.7f}",
            flush=True,
        )
    command = ["python", "-m", "benchmarks.cost.ddp_scaling", *sys.argv[1:]]
    print(f"written to {write_results('ddp_scaling', rows, command)}")


if __name__ == "__main__":
    main()
