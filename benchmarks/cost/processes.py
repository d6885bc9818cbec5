"""How many pairs a second ``sess score`` does in one process and in several, and what of a second goes where.

    python -m benchmarks.cost.processes [--processes 1 2] [--pairs 96] [--preset lite] [--device cuda]

The processes are those of a made-up step of Slurm, on a processor with one core and one thread each. The rate is that
between the first rows in the results file and the last, so that it holds for runs of any length; what comes before, the
start, is told of beside it. The images are parts of the photographs of the package, in PNG, and JPEG files of them.
What a pair takes of a processor is told part by part: reading both files, extracting both scene graphs, and matching.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.shared.reporting import write_results
from torchmetrics_sess.images import prepare_images, read_image
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.photographs import NAMES, open_photograph
from torchmetrics_sess.scoring import Scorer

BATCH = 4
_JOBS = itertools.count(os.getpid() * 16)


def main() -> None:
    """Print the table and write it to ``results/processes.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many processes, one run each")
    parser.add_argument("--pairs", type=int, default=96, help="pairs of images in all")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=BATCH)
    arguments = parser.parse_args()

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder, arguments.pairs)
        print(f"{arguments.pairs} pairs, batches of {arguments.batch_size}, {arguments.preset}, {arguments.device}")
        print(f"{'processes':>9} {'start s':>8} {'whole s':>8} {'pairs/s':>8} {'speed-up':>8}")
        for processes in arguments.processes:
            command = ["score", "origin", "recon", "--out", f"{processes}.csv", "--preset", arguments.preset]
            command += ["--device", arguments.device, "--batch-size", str(arguments.batch_size)]
            row = {"processes": processes, **measure(folder, command, processes, arguments.pairs, arguments.batch_size)}
            rows.append(row)
            row["speed-up"] = row["pairs per s"] / rows[0]["pairs per s"]
            print(
                f"{processes:9d} {row['start s']:8.1f} {row['whole s']:8.1f} {row['pairs per s']:8.2f} "
                f"{row['speed-up']:8.2f}",
                flush=True,
            )
        files = {(folder / f"{processes}.csv").read_bytes() for processes in arguments.processes}
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        rows.append({"files that differ": len(files) - 1, "memory of a process MiB": memory})
        rows.append(parts_of_a_pair(folder, arguments.preset))
    print("; ".join(f"{key}: {value:.4g}" for row in rows[-2:] for key, value in row.items()))
    command = ["python", "-m", "benchmarks.cost.processes", *sys.argv[1:]]
    print(f"written to {write_results('processes', rows, command)}")


def write_pairs(folder: Path, count: int) -> None:
    """Write parts of the photographs as originals, and reconstructions of them."""
    for side in ("origin", "recon"):
        (folder / side).mkdir()
    for index in range(count):
        photograph = open_photograph(NAMES[index % len(NAMES)])
        shift = index // len(NAMES) % 16
        image = photograph.crop((shift, shift, shift + 224, shift + 224))
        image.save(folder / "origin" / f"{index:05}.png")
        image.save(folder / "recon" / f"{index:05}.jpg", quality=20 + index % 60)


def measure(folder: Path, command: Sequence[str], processes: int, pairs: int, batch_size: int) -> dict[str, float]:
    """Run a command in so many processes, and watch the results file grow."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    step = {"SLURM_JOB_ID": str(next(_JOBS)), "SLURM_NTASKS": str(processes), "SLURM_NODELIST": "127.0.0.1"}
    environment = {**os.environ, **step, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    tasks = []
    for rank in range(processes):
        task = subprocess.Popen(
            [sys.executable, "-m", "torchmetrics_sess.cli", *command],
            cwd=folder,
            env={**environment, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.DEVNULL,
        )
        if "cpu" in command and cores:
            os.sched_setaffinity(task.pid, {cores[rank % len(cores)]})
        tasks.append(task)
    out = folder / command[command.index("--out") + 1]
    seen: list[tuple[float, int]] = []
    while any(task.poll() is None for task in tasks):
        time.sleep(0.02)
        done = out.read_bytes().count(b"\n") - 1 if out.exists() else 0
        if done > 0 and (not seen or done > seen[-1][1]):
            seen.append((time.perf_counter(), done))
    codes = [task.wait() for task in tasks]
    if any(codes):
        raise RuntimeError(f"`sess {' '.join(command)}` ended with exit codes {codes}")
    (first, few), (last, _) = seen[0], seen[-1]
    # The rows of a batch come when the next one has been through the networks, and those of the last with those before.
    between = pairs - few - processes * batch_size
    if between <= 0:
        raise RuntimeError(f"{pairs} pairs are too few for a rate")
    return {
        "pairs": pairs,
        "start s": first - start,
        "whole s": time.perf_counter() - start,
        "pairs per s": between / (last - first),
    }


def parts_of_a_pair(folder: Path, preset: str) -> dict[str, float]:
    """Return what one pair takes of a processor's time, on one thread, part by part."""
    torch.set_num_threads(1)
    paths = [folder / "recon" / "00000.jpg", folder / "origin" / "00000.png"]
    scorer = Scorer(preset)
    networks = scorer.networks.on(torch.device("cpu"))
    images = prepare_images([read_image(path) for path in paths] * BATCH, "images")
    graphs = networks.extractor.extract(images)[:2]
    similarity = scorer.predicate_similarity(networks)
    return {
        "reading ms": _milliseconds(lambda: [read_image(path) for path in paths]),
        "scene graphs ms": _milliseconds(lambda: networks.extractor.extract(images), 3) / BATCH,
        "matching ms": _milliseconds(lambda: match_graph_pairs(graphs[:1], graphs[1:], similarity, scorer.matching)),
    }


def _milliseconds(do: Callable[[], object], repetitions: int = 20) -> float:
    do()
    # Not the time on the wall: that of other programs does not count.
    start = time.process_time()
    for _ in range(repetitions):
        do()
    return 1000 * (time.process_time() - start) / repetitions


if __name__ == "__main__":
    main()
