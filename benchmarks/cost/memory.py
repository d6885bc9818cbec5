"""Does the memory of a process grow with what it is given to do?

    python -m benchmarks.cost.memory [--quick]

Peak resident memory, each line of the last two tables in a process of its own, of

* 1, 100 and 1000 updates of one pair of about 256 pixels, after ten to warm up; no two images have the same size;
* one update of 1, 2 and 4 pairs of 12 megapixels at ``batch_size=1``, less the bytes of the images themselves;
* ``sess score`` of 8, 64 and 256 reconstructions of one original of 512 x 512 pixels.

The network of ``lite`` works at half its size, so that this takes minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.shared.reporting import write_results
from torchmetrics_sess import SemanticSimilarityScore
from torchmetrics_sess.cli import app

WARM_UP = 10
HALF_SIZE = {"segmenter.image_size": 168}
UPDATES, LARGE, RECONSTRUCTIONS = "updates", "pairs of 12 megapixels", "reconstructions of one original"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first two lines of each; nothing is written")
    quick = parser.parse_args().quick
    counts: dict[str, tuple[int, ...]] = {UPDATES: (1, 100, 1000), LARGE: (1, 2, 4), RECONSTRUCTIONS: (8, 64, 256)}
    shown = {what: of[:2] if quick else of for what, of in counts.items()}
    rows = [
        *updates(shown[UPDATES]),
        *apart(LARGE, large_images, shown[LARGE]),
        *apart(RECONSTRUCTIONS, one_original, shown[RECONSTRUCTIONS]),
    ]
    print(f"{'':32} {'count':>6} {'peak MiB':>9} {'growth':>8}")
    for row in rows:
        print(f"{row['what']:32} {row['count']:6d} {row['peak_mib']:9.1f} {row['growth']:8.2%}")
    if not quick:
        print(f"written to {write_results('memory', rows, ['python', '-m', 'benchmarks.cost.memory', *sys.argv[1:]])}")


def updates(counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return a line for every number of updates."""
    metric = SemanticSimilarityScore(overrides=HALF_SIZE)
    generator = torch.Generator().manual_seed(0)
    peaks = []
    done = -WARM_UP
    for count in counts:
        while done < count:
            height, width = (240 + int(torch.randint(32, (), generator=generator)) for _ in range(2))
            images = torch.rand(2, 3, height, width, generator=generator)
            metric.update(images[:1], images[1:])
            done += 1
        peaks.append(peak())
    return _rows(UPDATES, counts, peaks)


def apart(what: str, measure: Callable[[int], float], counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return a line for every count, each measured in a new process."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return _rows(what, counts, pool.map(measure, counts, chunksize=1))


def large_images(count: int) -> float:
    """Return the peak of one update of so many pairs of 12 megapixels, less their own bytes."""
    preds, target = (torch.randint(256, (count, 3, 3000, 4000), dtype=torch.uint8) for _ in range(2))
    SemanticSimilarityScore(overrides=HALF_SIZE, batch_size=1).update(preds, target)
    return peak() - 2 * preds.numel() / 2**20


def one_original(count: int) -> float:
    """Return the peak of a command that scores so many reconstructions of one original."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original = folder / "original" / "image.png"
        original.parent.mkdir()
        pixels = torch.randint(256, (512, 512, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(original)
        for number in range(count):
            reconstructed = folder / f"recon-{number}" / "image.png"
            reconstructed.parent.mkdir()
            Image.fromarray((pixels // 2 + number // 2).numpy()).save(reconstructed)
        folders = [str(folder / f"recon-{number}") for number in range(count)]
        halved = [f"--set={name}={value}" for name, value in HALF_SIZE.items()]
        command = [
            "score",
            str(original.parent),
            *folders,
            *halved,
            "--device",
            "cpu",
            "--out",
            str(folder / "out.csv"),
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            app(command, standalone_mode=False)
    return peak()


def peak() -> float:
    """Return the most memory this process has had so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _rows(what: str, counts: tuple[int, ...], peaks: list[float]) -> list[dict[str, Any]]:
    return [
        {"what": what, "count": count, "peak_mib": value, "growth": value / peaks[0] - 1}
        for count, value in zip(counts, peaks, strict=True)
    ]


if __name__ == "__main__":
    main()
