"""Measures what unrelated images score: the ``baseline`` of a preset, by which ``rescale="baseline"`` spreads scores.

    python -m benchmarks.calibration.baseline --images FOLDER [--preset lite]

``FOLDER`` holds photographs of all kinds of things, at least 60. Of those that show the same scene, which are alike in
the embedding of the whole image, the first one counts. Pairs of the rest are drawn and scored; the baseline is their
mean, and its uncertainty comes from a bootstrap over the images. It belongs into the preset's file, or ``overrides``.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.shared.reporting import write_results
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import find_images, read_image
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.presets import Preset, load_preset
from torchmetrics_sess.presets.pool import pooled_networks

ENOUGH = 60
RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="photographs, subfolders included")
    parser.add_argument("--preset", default="lite", help="name of a preset, or a YAML file")
    parser.add_argument(
        "--alike", type=float, default=0.6, help="cosine of whole-image embeddings from which two show the same scene"
    )
    parser.add_argument("--pairs", type=int, default=2000, help="how many to score; all, if there are not as many")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()

    names = find_images(arguments.images)
    if not names:
        parser.error(f"no images in {arguments.images}")
    preset = load_preset(arguments.preset)
    graphs = extract([arguments.images / name for name in names], preset, torch.device(arguments.device))
    chosen = distinct(graphs, arguments.alike)
    if len(chosen) < ENOUGH:
        parser.error(f"{len(chosen)} different scenes in {arguments.images}; a baseline takes at least {ENOUGH}")
    row = measure([graphs[index] for index in chosen], preset, torch.device(arguments.device), arguments.pairs)
    row = {"preset": preset.name, "images": len(graphs), "alike": arguments.alike, **row}
    for name, value in row.items():
        print(f"{name:>16} {value:.4f}" if isinstance(value, float) else f"{name:>16} {value}")
    # The folder is nobody's business.
    command = ["python", "-m", "benchmarks.calibration.baseline", "--images", "FOLDER", "--preset", arguments.preset]
    print(write_results(f"baseline-{preset.name}", [row], command))


def extract(paths: list[Path], preset: Preset, device: torch.device) -> list[SceneGraph]:
    extractor = pooled_networks(preset, device).extractor
    graphs: list[SceneGraph] = []
    for start in range(0, len(paths), 16):
        graphs += extractor([read_image(path) for path in paths[start : start + 16]], masks=False)
        print(f"\r{len(graphs)} of {len(paths)} images", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return graphs


def distinct(graphs: list[SceneGraph], alike: float) -> list[int]:
    """Return the indices of graphs whose image is not like one before."""
    features = torch.stack([graph.image_feature for graph in graphs])
    cosine = features @ features.T
    chosen: list[int] = []
    for index in range(len(graphs)):
        if not chosen or cosine[index, chosen].max() < alike:
            chosen.append(index)
    return chosen


def measure(graphs: list[SceneGraph], preset: Preset, device: torch.device, count: int) -> dict[str, Any]:
    pairs = list(itertools.combinations(range(len(graphs)), 2))
    drawn = np.random.default_rng(0).permutation(len(pairs))[:count]
    pairs = [pairs[index] for index in drawn]
    matched = match_graph_pairs(
        [graphs[i] for i, _ in pairs],
        [graphs[j] for _, j in pairs],
        pooled_networks(preset, device).relation_similarity,
        preset.matching,
    )
    scores = np.full((len(graphs), len(graphs)), np.nan)
    for (i, j), result in zip(pairs, matched, strict=True):
        scores[i, j] = scores[j, i] = result.score
    values = scores[~np.isnan(scores)]
    low, high = interval(scores)
    return {
        "distinct images": len(graphs),
        "pairs": len(pairs),
        "baseline": float(values.mean()),
        "95 % from": low,
        "95 % to": high,
        "1st percentile": float(np.percentile(values, 1)),
        "median": float(np.median(values)),
        "99th percentile": float(np.percentile(values, 99)),
        "signature": preset.signature(),
    }


def interval(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle 95 % of the means when the images are drawn anew; an image is no pair with itself."""
    generator = np.random.default_rng(0)
    count = len(scores)
    drawn = (generator.integers(count, size=count) for _ in range(RESAMPLES))
    means = [np.nanmean(scores[np.ix_(indices, indices)]) for indices in drawn]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
