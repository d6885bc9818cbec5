"""What the default preset costs: a whole ``update()`` against the bare network on the same images.

    python benchmarks/lite.py [--cuda] [--quick]

The two are timed in turn, and the ratio is taken pair by pair, so that it holds on a machine whose speed drifts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from photographs import load_photographs
from reporting import write_results
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, resize

from torchmetrics_sess import SemanticSimilarityScore
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.segmenters.dino import DinoSegmenterConfig, squash

SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true", help="measure on the graphics card")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repetitions")
    arguments = parser.parse_args()

    device = torch.device("cuda" if arguments.cuda else "cpu")
    pairs = (8,) if arguments.quick else (1, 4, 8, 16)
    rows = [measure(count, device, repetitions=3 if arguments.quick else 5) for count in pairs]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
    print(write_results(f"lite-{device.type}", rows, sys.argv))


def measure(pairs: int, device: torch.device, repetitions: int) -> dict[str, Any]:
    photographs = [square(pil_to_tensor(image)) for image in load_photographs().values()]
    preds = torch.stack([photographs[k % len(photographs)] for k in range(pairs)]).to(device)
    target = torch.stack([photographs[(k + 1) % len(photographs)] for k in range(pairs)]).to(device)
    metric = SemanticSimilarityScore().to(device)
    segmenter = DinoSegmenterConfig().build(device)
    squares = squash([image.float() / 255 for image in torch.cat([preds, target])], 336)

    def forward() -> None:
        with full_precision(device):
            for chunk in squares.split(segmenter.config.images_per_batch):
                segmenter.network(chunk)

    def update() -> None:
        metric.update(preds, target)

    forward()
    update()
    seconds = [(clock(forward, device), clock(update, device)) for _ in range(repetitions)]
    return {
        "pairs": pairs,
        "forward s": statistics.median(first for first, _ in seconds),
        "update s": statistics.median(second for _, second in seconds),
        "update / forward": statistics.median(second / first for first, second in seconds),
        "images per s": 2 * pairs / statistics.median(second for _, second in seconds),
    }


def square(image: Tensor) -> Tensor:
    resized: Tensor = resize(image, [SIDE, SIDE])
    return resized


def clock(call: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
