"""Measures when regions of ``lite`` belong to one object: ``SAME_OBJECT`` of ``torchmetrics_sess/objects.py``.

    python -m benchmarks.calibration.objects FOLDER [--preset lite]

``FOLDER`` holds photographs with segments that people drew (``benchmarks/shared/segments.py``), of which only the half
``tune`` is looked at: ``benchmarks/trust/objects.py --half report`` judges on the other one. Two regions count as one
segment as far as people put most of either into the same one; a logistic regression tells how probable that is, pairs
weighted by area. Then groups join from that mean probability on which covers people's segments and meets their objects
best. The line that is printed belongs into the code; it depends on the network, so measure it anew when that changes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.shared.reporting import write_results
from benchmarks.shared.segments import SegmentedPhotograph, best_iou, covering, load_segmented, overlap
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import image_tensor
from torchmetrics_sess.objects import SameObject, join_regions
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.presets.pool import pooled_networks

LEAST = tuple(round(0.2 + 0.05 * step, 2) for step in range(10))


class Pairs(NamedTuple):
    """All pairs of regions of a photograph: cosine and distance, how many people join them, and their weight."""

    measured: NDArray[np.float64]
    joined: NDArray[np.float64]
    weight: NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs with segments that people drew")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    photographs = load_segmented(arguments.folder, "tune")
    preset = load_preset(arguments.preset)
    extractor = pooled_networks(preset, torch.device(arguments.device)).extractor
    graphs = [extractor([image_tensor(each.image)])[0] for each in photographs.values()]
    seen = list(zip(photographs.values(), graphs, strict=True))
    fitted = fit([pairs_of(photograph, graph) for photograph, graph in seen])
    rows = [choose_from(seen, SameObject(*fitted, least)) for least in LEAST]
    for row in rows:
        print("  ".join(f"{name} {value:.3f}" for name, value in row.items()))
    best = max(rows, key=lambda row: row["covering"] + row["IoU with the object"])
    chosen = SameObject(*(round(value, 2) for value in (*fitted, best["least"])))
    print(f"SAME_OBJECT = {chosen}")
    summary: dict[str, Any] = {**chosen._asdict(), "photographs": len(seen), "signature": preset.signature()}
    command = ["python", "-m", "benchmarks.calibration.objects", *sys.argv[1:]]
    print(write_results(f"objects-calibration-{preset.name}", [*rows, summary], command))


def pairs_of(photograph: SegmentedPhotograph, graph: SceneGraph) -> Pairs:
    """Compare what people say of every pair of regions with what the graph says."""
    regions = region_labels(graph)
    area = np.bincount(regions.ravel(), minlength=len(graph)) / regions.size
    pairs = np.array([pair for pair in itertools.combinations(range(len(graph)), 2) if area[list(pair)].all()]).T
    features, centers = graph.features.double().numpy(), graph.centers.double().numpy()
    cosine = np.einsum("nd,nd->n", features[pairs[0]], features[pairs[1]])
    distance = np.linalg.norm(centers[pairs[0]] - centers[pairs[1]], axis=1)
    owners = [_owners(labels, regions, len(graph)) for labels in photograph.segments]
    joined = np.mean([owner[pairs[0]] == owner[pairs[1]] for owner in owners], axis=0)
    weight = area[pairs[0]] * area[pairs[1]]
    return Pairs(np.stack([cosine, distance, np.ones_like(cosine)], 1), joined, weight / weight.sum())


def fit(photographs: list[Pairs]) -> tuple[float, float, float]:
    """Return the weights of a logistic regression, every photograph counting the same."""
    measured, joined, weight = (np.concatenate(column) for column in zip(*photographs, strict=True))

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = measured @ weights
        value = weight @ (np.logaddexp(0, scores) - joined * scores)
        return float(value), measured.T @ (weight * (expit(scores) - joined))

    cosine, distance, offset = minimize(loss, np.zeros(3), jac=True).x.tolist()
    return cosine, distance, offset


def choose_from(seen: list[tuple[SegmentedPhotograph, SceneGraph]], same: SameObject) -> dict[str, float]:
    """Return how well the objects of some settings agree with those of people."""
    covered, met, counts = [], [], []
    for photograph, graph in seen:
        labels = join_regions(graph, same).unique(return_inverse=True)[1].numpy()
        objects = labels[region_labels(graph)]
        covered.append(np.mean([covering(segments, objects) for segments in photograph.segments]))
        met.append(best_iou(photograph.object, objects))
        counts.append(labels.max() + 1)
    return {
        "least": same.least,
        "covering": float(np.mean(covered)),
        "IoU with the object": float(np.mean(met)),
        "objects": float(np.mean(counts)),
    }


def region_labels(graph: SceneGraph) -> NDArray[np.int64]:
    """Return which region every pixel lies in."""
    if graph.masks is None:
        raise ValueError("`graph` must have masks")
    labels: NDArray[np.int64] = graph.masks.byte().argmax(0).numpy()
    return labels


def _owners(drawn: NDArray[np.int64], regions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    shared = overlap(drawn, regions)
    owners = np.full(count, -1, dtype=np.int64)
    owners[: shared.shape[1]] = shared.argmax(0)
    return owners


if __name__ == "__main__":
    main()
