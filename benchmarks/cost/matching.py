"""How many pairs of scene graphs a second the compiled kernel matches, against the same formulas in plain scipy.

    python -m benchmarks.cost.matching [--quick]

Times are of whole calls on the same pairs, all in one run, each the best of several.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.shared import matching_oracle
from benchmarks.shared.reporting import write_results
from torchmetrics_sess.matching import MatchingConfig, match_graph_pairs
from torchmetrics_sess.presets import load_preset

SIZES = [(5, 8), (12, 40), (12, 69), (20, 60), (30, 99), (45, 99), (60, 99)]
HEADLINE = (30, 99)
LITE = (25, 200)
PAIRS = 8
RELEASED = MatchingConfig()
TRANSPORT = MatchingConfig(assignment="transport")


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the shortest of some runs, the one that other work on the machine disturbed least."""
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return min(durations)


def measure(nodes: int, edges: int, repeats: int) -> dict[str, Any]:
    """Return one line of the table."""
    known = matching_oracle.random_relation_similarity(0)
    relation_similarity = torch.from_numpy(known)
    graphs_a = [matching_oracle.random_graph(nodes, edges, 2 * seed) for seed in range(PAIRS)]
    graphs_b = [matching_oracle.random_graph(nodes, edges, 2 * seed + 1) for seed in range(PAIRS)]

    def match(config: MatchingConfig, threads: int | None) -> None:
        match_graph_pairs(graphs_a, graphs_b, relation_similarity, config, threads)

    def match_plainly() -> None:
        for a, b in zip(graphs_a, graphs_b, strict=True):
            matching_oracle.match(a, b, known, RELEASED)

    kernel = seconds(lambda: match(RELEASED, 1), 5 * repeats) / PAIRS
    parallel = seconds(lambda: match(RELEASED, None), 5 * repeats) / PAIRS
    transport = seconds(lambda: match(TRANSPORT, 1), 5 * repeats) / PAIRS
    oracle = seconds(match_plainly, repeats) / PAIRS
    return {
        "nodes": nodes,
        "edges": edges,
        "kernel_ms": 1e3 * kernel,
        "transport_ms": 1e3 * transport,
        "scipy_ms": 1e3 * oracle,
        "kernel_pairs_per_second": 1 / kernel,
        "kernel_pairs_per_second_all_threads": 1 / parallel,
        "scipy_pairs_per_second": 1 / oracle,
        "ratio": oracle / kernel,
    }


def measure_threads(repeats: int) -> list[dict[str, Any]]:
    """Return how the pairs per second grow with the threads, at the headline's size and settings, and at lite's."""
    known = torch.from_numpy(matching_oracle.random_relation_similarity(0))
    rows: list[dict[str, Any]] = []
    for preset, (nodes, edges), config in (
        ("reference", HEADLINE, RELEASED),
        ("lite", LITE, load_preset("lite").matching),
    ):
        graphs = [matching_oracle.random_graph(nodes, edges, seed) for seed in range(8 * PAIRS + 1)]
        one = 0.0
        for threads in sorted({1, *(2**k for k in range(1, 7) if 2**k < (os.cpu_count() or 1)), os.cpu_count() or 1}):
            call = functools.partial(match_graph_pairs, graphs[:-1], graphs[1:], known, config, threads)
            rate = (len(graphs) - 1) / seconds(call, 3 * repeats)
            one = one or rate
            rows.append(
                {
                    "preset": preset,
                    "nodes": nodes,
                    "edges": edges,
                    "threads": threads,
                    "pairs_per_second": rate,
                    "speed_up": rate / one,
                }
            )
    return rows


def main() -> None:
    """Print the table and write it to ``results/matching.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="only the headline size, few repeats; nothing is written")
    quick = parser.parse_args().quick

    start = time.perf_counter()
    measure(2, 1, 1)
    print(f"first call: {time.perf_counter() - start:.1f} s, compiling included unless it was cached")
    print(f"{'nodes':>5} {'edges':>5} {'scipy':>10} {'kernel':>10} {'all threads':>11} {'ratio':>6} {'transport':>10}")
    print(f"{'':>11} {'pairs/s':>10} {'pairs/s':>10} {'pairs/s':>11} {'':>6} {'ms a pair':>10}")
    rows = []
    for nodes, edges in [HEADLINE] if quick else SIZES:
        row = measure(nodes, edges, repeats=2 if quick else 4)
        rows.append(row)
        print(
            f"{nodes:5d} {edges:5d} {row['scipy_pairs_per_second']:10.1f} {row['kernel_pairs_per_second']:10.1f} "
            f"{row['kernel_pairs_per_second_all_threads']:11.1f} {row['ratio']:6.1f} {row['transport_ms']:10.2f}",
            flush=True,
        )
    headline = next(row for row in rows if (row["nodes"], row["edges"]) == HEADLINE)
    print(
        f"{HEADLINE[0]} nodes and {HEADLINE[1]} edges: {headline['kernel_ms']:.2f} ms a pair on one thread, "
        f"{headline['ratio']:.0f} times plain scipy ({headline['scipy_ms']:.0f} ms); {os.cpu_count()} processors"
    )
    print(f"\n{'matching of':>11} {'threads':>7} {'pairs/s':>10} {'speed-up':>8}")
    threaded = measure_threads(repeats=1 if quick else 4)
    for row in threaded:
        print(f"{row['preset']:>11} {row['threads']:7d} {row['pairs_per_second']:10.1f} {row['speed_up']:8.2f}")
    if not quick:
        command = ["python", "-m", "benchmarks.cost.matching"]
        print(f"written to {write_results('matching', [*rows, *threaded], command)}")


if __name__ == "__main__":
    main()
