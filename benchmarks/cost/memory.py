"""Does the memory of a process grow with the updates of the metric?

    python -m benchmarks.cost.memory [--quick]

Peak resident memory after 1, 100 and 1000 updates of one pair of about 256 pixels, after ten to warm up; no two images
have the same size, as in many a folder. The network of ``lite`` works at half its size, so that this takes minutes.
"""

from __future__ import annotations

import argparse
import resource
import sys
from typing import Any

import torch

from benchmarks.shared.reporting import write_results
from torchmetrics_sess import SemanticSimilarityScore

WARM_UP = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 updates at most; nothing is written")
    quick = parser.parse_args().quick
    rows = measure((1, 100) if quick else (1, 100, 1000))
    print(f"{'updates':>7} {'peak MiB':>9} {'growth':>8}")
    for row in rows:
        print(f"{row['updates']:7d} {row['peak_mib']:9.1f} {row['growth']:8.2%}")
    if not quick:
        print(f"written to {write_results('memory', rows, ['python', '-m', 'benchmarks.cost.memory', *sys.argv[1:]])}")


def measure(counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return a line for every number of updates."""
    metric = SemanticSimilarityScore(overrides={"segmenter.image_size": 168})
    generator = torch.Generator().manual_seed(0)
    rows: list[dict[str, Any]] = []
    done = -WARM_UP
    for count in counts:
        while done < count:
            height, width = (240 + int(torch.randint(32, (), generator=generator)) for _ in range(2))
            images = torch.rand(2, 3, height, width, generator=generator)
            metric.update(images[:1], images[1:])
            done += 1
        rows.append({"updates": count, "peak_mib": peak(), "growth": 0.0})
        rows[-1]["growth"] = rows[-1]["peak_mib"] / rows[0]["peak_mib"] - 1
    return rows


def peak() -> float:
    """Return the most memory this process has had so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main()
