"""What a validation epoch costs when the scene graphs of its targets are kept from the one before.

    python -m benchmarks.cost.target_cache [--epochs 3] [--batch 8] [--cuda] [--quick]

Every epoch scores the photographs of scikit-image and scikit-learn against versions of them that differ from epoch to
epoch, as those of a network in training do: without a cache, with one in memory, and with one in a folder. The three
are timed in turn, and each epoch is compared with that without a cache beside it. Scores must agree to the last bit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, resize

from benchmarks.shared.photographs import load_photographs
from benchmarks.shared.reporting import write_results
from torchmetrics_sess import SemanticSimilarityScore

SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4, help="at least 2")
    parser.add_argument("--batch", type=int, default=8, help="pairs per update")
    parser.add_argument("--cuda", action="store_true", help="measure on the graphics card")
    parser.add_argument("--quick", action="store_true", help="two epochs of six photographs")
    arguments = parser.parse_args()
    epochs = 2 if arguments.quick else arguments.epochs
    if epochs < 2:
        parser.error("the first epoch finds nothing in a cache: at least 2 are needed")

    device = torch.device("cuda" if arguments.cuda else "cpu")
    images = [resize(pil_to_tensor(image), [SIDE, SIDE]) for image in load_photographs().values()]
    target = torch.stack(images[:6] if arguments.quick else images).to(device)
    with tempfile.TemporaryDirectory() as folder:
        metrics = {
            "none": SemanticSimilarityScore(),
            "memory": SemanticSimilarityScore(cache_targets=True),
            "folder": SemanticSimilarityScore(cache_targets=folder),
        }
        rows = measure({name: metric.to(device) for name, metric in metrics.items()}, target, epochs, arguments.batch)
    print(f"{len(target)} photographs of {SIDE} x {SIDE}, batches of {arguments.batch}, {epochs} epochs on {device}")
    print(
        f"{'cache':>8} {'1st epoch':>9} {'later s':>8} {'faster':>8} {'hits':>6} {'misses':>7} {'KiB':>8} same scores"
    )
    for row in rows:
        print(
            f"{row['cache']:>8} {row['first epoch s']:9.2f} {row['later epochs s']:8.2f} {row['faster']:7.2f}x "
            f"{row['hits']:6d} {row['misses']:7d} {row['bytes'] / 2**10:8.1f} {row['same scores']!s:>11}"
        )
    if not arguments.quick:
        print(
            write_results(
                f"target_cache-{device.type}", rows, ["python", "-m", "benchmarks.cost.target_cache", *sys.argv[1:]]
            )
        )


def measure(
    metrics: dict[str, SemanticSimilarityScore], target: Tensor, epochs: int, batch: int
) -> list[dict[str, Any]]:
    # Networks and kernels are loaded before the clock starts; what this puts into a cache is never asked for again.
    for metric in metrics.values():
        metric.update(target[:1] // 2, target[:1] // 2)
        metric.reset()
    before = {name: metric.cache_info() for name, metric in metrics.items()}
    seconds: dict[str, list[float]] = {name: [] for name in metrics}
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for epoch in range(epochs):
        preds = noisy(target, seed=epoch)
        for name, metric in metrics.items():
            metric.reset()
            start = time.perf_counter()
            for low in range(0, len(target), batch):
                metric.update(preds[low : low + batch], target[low : low + batch])
            values[name].append(metric.compute().item())
            seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, metric in metrics.items():
        info = metric.cache_info()
        rows.append(
            {
                "cache": name,
                "first epoch s": seconds[name][0],
                "later epochs s": statistics.median(seconds[name][1:]),
                "faster": faster(seconds["none"][1:], seconds[name][1:]),
                "hits": info.hits - before[name].hits,
                "misses": info.misses - before[name].misses,
                "bytes": info.bytes - before[name].bytes,
                "same scores": values[name] == values["none"],
            }
        )
    return rows


def faster(without: Sequence[float], cached: Sequence[float]) -> float:
    return statistics.median(slow / fast for slow, fast in zip(without, cached, strict=True))


def noisy(images: Tensor, seed: int) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images.device)
    return (images + 20 * noise).clamp(0, 255).byte()


if __name__ == "__main__":
    main()
