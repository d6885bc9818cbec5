"""What the default preset costs: a whole ``update()`` against the bare network on the same images.

    python -m benchmarks.cost.lite [--cuda] [--quick]

The two are timed in turn, and the ratio is taken pair by pair, so that it holds on a machine whose speed drifts. It is
measured as the number of pairs, the size of the images and the number of regions (objects) grow.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, resize

from benchmarks.shared.photographs import load_photographs
from benchmarks.shared.reporting import FIGURES, write_results
from torchmetrics_sess import SemanticSimilarityScore
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.segmenters.dino import DinoSegmenterConfig, squash

PAIRS, SIDE, SEEDS = 4, 512, 8
GROWTHS = {
    "pairs": [{"pairs": pairs} for pairs in (1, 2, PAIRS, 8, 16)],
    "side": [{"side": side} for side in (128, 256, SIDE, 1024, 2048)],
    "regions": [{"seeds": seeds} for seeds in (2, 4, 5, SEEDS, 12)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true", help="measure on the graphics card")
    parser.add_argument("--quick", action="store_true", help="only 8 pairs of 512 pixels; nothing is written")
    arguments = parser.parse_args()

    device = torch.device("cuda" if arguments.cuda else "cpu")
    growths = {"pairs": [{"pairs": 8}]} if arguments.quick else GROWTHS
    rows = [
        {"growth of": growth, **measure(device, repetitions=3, **sizes)}
        for growth, cases in growths.items()
        for sizes in cases
    ]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
    if arguments.quick:
        return
    draw(rows, device.type)
    print(write_results(f"lite-{device.type}", rows, ["python", "-m", "benchmarks.cost.lite", *sys.argv[1:]]))


def measure(
    device: torch.device, repetitions: int, *, pairs: int = PAIRS, side: int = SIDE, seeds: int = SEEDS
) -> dict[str, Any]:
    """Return one line of the table."""
    photographs: list[Tensor] = [
        resize(pil_to_tensor(image), [side, side]) for image in list(load_photographs().values())[: 2 * pairs]
    ]
    preds = torch.stack([photographs[k % len(photographs)] for k in range(pairs)]).to(device)
    target = torch.stack([photographs[(k + 1) % len(photographs)] for k in range(pairs)]).to(device)
    metric = SemanticSimilarityScore(overrides={"segmenter.seeds_per_side": seeds}).to(device)
    segmenter = DinoSegmenterConfig().build(device)
    squares = squash([image.float() / 255 for image in torch.cat([preds, target])], segmenter.config.image_size)

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
        "side": side,
        "regions": seeds**2,
        "forward s": statistics.median(first for first, _ in seconds),
        "update s": statistics.median(second for _, second in seconds),
        "update / forward": statistics.median(second / first for first, second in seconds),
        "images per s": 2 * pairs / statistics.median(second for _, second in seconds),
    }


def clock(call: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def draw(rows: list[dict[str, Any]], device: str) -> None:
    """Draw how the ratio grows with each of the three."""
    from matplotlib.figure import Figure

    names = {"pairs": "pairs in an update", "side": "side of the images, pixels", "regions": "regions of an image"}
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (growth, label) in zip(figure.subplots(1, 3, sharey=True), names.items(), strict=True):
        chosen = [row for row in rows if row["growth of"] == growth]
        axes.plot([row[growth] for row in chosen], [row["update / forward"] for row in chosen], "o-", color="#0072b2")
        axes.axhline(1, color="0.6", linewidth=1)
        axes.set(xlabel=label, xscale="log", xticks=[row[growth] for row in chosen])
        axes.set_xticklabels([str(row[growth]) for row in chosen])
        axes.minorticks_off()
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].set_ylabel("update() / bare network")
    figure.axes[0].set_ylim(0, 1.1 * max(row["update / forward"] for row in rows))
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / f"lite-{device}.png", dpi=150)


if __name__ == "__main__":
    main()
