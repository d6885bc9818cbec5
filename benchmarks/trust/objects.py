"""Are the objects of an explanation those that people would draw?

    python -m benchmarks.trust.objects FOLDER [--half tune|report] [--preset lite] [--quick]

``FOLDER`` holds photographs with segments and a main object that people drew (``benchmarks/shared/segments.py``).
Constants were measured on the half ``tune``, so that ``report`` is what counts. Compared are the objects of
``group_objects``, the nodes of the graph that they are made of, a grid, the whole image, and superpixels merged by
colour (SLIC and a region adjacency graph, scikit-image; its threshold is the best on the other half). Printed per kind:
covering, variation of information, boundary F, the share of photographs whose drawn object is met with an IoU of at
least .5, its mean IoU, the adjusted Rand index between the segments of a photograph and those of its JPEG 20, and how
many segments there are. With a preset of Segment Anything, whose masks overlap, every pixel counts for the smallest
object that it lies in.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.shared.reporting import write_results
from benchmarks.shared.segments import (
    Labels,
    SegmentedPhotograph,
    adjusted_rand,
    best_iou,
    boundary_f,
    covering,
    load_segmented,
    variation_of_information,
)
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import image_tensor
from torchmetrics_sess.objects import group_objects, object_graph
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.presets.pool import pooled_networks

OBJECTS, NODES, SUPERPIXELS = "objects", "nodes of the graph", "SLIC and adjacency"
THRESHOLDS = (10.0, 20.0, 30.0, 40.0, 50.0)
GRID = 5
MET = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs with segments that people drew")
    parser.add_argument("--half", choices=["tune", "report"], default="report", help="every other photograph, by name")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--name", help="of the file in `results`")
    parser.add_argument("--quick", action="store_true", help="four photographs; nothing is written")
    arguments = parser.parse_args()

    preset = load_preset(arguments.preset)
    extractor = pooled_networks(preset, torch.device(arguments.device)).extractor
    halves = {half: load_segmented(arguments.folder, half) for half in ("tune", "report")}
    if arguments.quick:
        halves = {half: dict(itertools.islice(found.items(), 4)) for half, found in halves.items()}
    other = halves["tune" if arguments.half == "report" else "report"]
    threshold = best_threshold(other)
    rows: dict[str, list[dict[str, float]]] = {}
    milliseconds = []
    for photograph in halves[arguments.half].values():
        images = photograph.image, as_jpeg(photograph.image, 20)
        graphs = extractor([image_tensor(image) for image in images])
        started = time.process_time()
        group_objects(graphs[0])
        milliseconds.append(1000 * (time.process_time() - started))
        for kind, (labels, again) in segmentations(images, graphs, threshold).items():
            rows.setdefault(kind, []).append(measure(photograph, labels, again))
    table = [{"segments": kind, **means(values)} for kind, values in rows.items()]
    table.append(
        {"segments": "another person", **means([measure_people(each) for each in halves[arguments.half].values()])}
    )
    show(f"{len(milliseconds)} photographs, half {arguments.half}", table)
    extra = {
        "photographs": len(milliseconds),
        "half": arguments.half,
        "processor milliseconds of group_objects": float(np.median(milliseconds)),
        "threshold of superpixels": threshold,
        "signature": preset.signature(),
    }
    print(*(f"{name}: {value}" for name, value in extra.items()), sep="\n")
    if not arguments.quick:
        name = arguments.name or f"objects-{preset.name}"
        print(write_results(name, [*table, extra], ["python", "-m", "benchmarks.trust.objects", *sys.argv[1:]]))


def segmentations(
    images: tuple[Image.Image, Image.Image], graphs: list[SceneGraph], threshold: float
) -> dict[str, tuple[Labels, Labels]]:
    """Return the segments of a photograph and of its JPEG, by kind."""
    ways: dict[str, Callable[[Image.Image, SceneGraph], Labels]] = {
        OBJECTS: lambda _, graph: smallest_mask(object_graph(graph)),
        NODES: lambda _, graph: smallest_mask(graph),
        f"grid of {GRID} by {GRID}": lambda image, _: grid(image),
        "whole image": lambda image, _: np.zeros((image.height, image.width), dtype=np.int64),
        SUPERPIXELS: lambda image, _: superpixels(image, [threshold])[0],
    }
    return {kind: (way(images[0], graphs[0]), way(images[1], graphs[1])) for kind, way in ways.items()}


def smallest_mask(graph: SceneGraph) -> Labels:
    """Return which node every pixel lies in, the smallest one where there are several; 0 where there is none."""
    if graph.masks is None:
        raise ValueError("`graph` must have masks")
    masks = graph.masks.numpy()
    labels = np.zeros(masks.shape[1:], dtype=np.int64)
    for number in np.argsort(-masks.sum((1, 2)), kind="stable").tolist():
        labels[masks[number]] = number + 1
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def grid(image: Image.Image) -> Labels:
    rows, columns = (np.arange(side) * GRID // side for side in (image.height, image.width))
    return rows[:, None] * GRID + columns


def superpixels(image: Image.Image, thresholds: Sequence[float]) -> list[Labels]:
    """Return superpixels, joined where they touch and their mean colours differ by less than a threshold."""
    import skimage.graph
    from skimage.segmentation import slic

    pixels = np.asarray(image)
    labels = slic(pixels, n_segments=250, compactness=20, start_label=0)
    # Its functions carry no types.
    adjacency: Any = skimage.graph
    graph = adjacency.rag_mean_color(pixels, labels)
    merged: list[NDArray[Any]] = [adjacency.cut_threshold(labels, graph, each, in_place=False) for each in thresholds]
    return [np.unique(each, return_inverse=True)[1].reshape(labels.shape) for each in merged]


def best_threshold(photographs: Mapping[str, SegmentedPhotograph]) -> float:
    """Return the threshold of superpixels that covers people's segments best."""
    found = [
        [
            np.mean([covering(drawn, labels) for drawn in each.segments])
            for labels in superpixels(each.image, THRESHOLDS)
        ]
        for each in photographs.values()
    ]
    return THRESHOLDS[int(np.mean(found, axis=0).argmax())]


def measure(photograph: SegmentedPhotograph, labels: Labels, again: Labels) -> dict[str, float]:
    iou = best_iou(photograph.object, labels)
    return {
        "covering": float(np.mean([covering(drawn, labels) for drawn in photograph.segments])),
        "variation of information": float(
            np.mean([variation_of_information(drawn, labels) for drawn in photograph.segments])
        ),
        "boundary F": boundary_f(photograph.segments, labels),
        "object met": float(iou >= MET),
        "IoU with the object": iou,
        "adjusted Rand, JPEG 20": adjusted_rand(labels, again),
        "count": float(labels.max() + 1),
    }


def measure_people(photograph: SegmentedPhotograph) -> dict[str, float]:
    """Measure every person by the others."""
    pairs = list(itertools.permutations(photograph.segments, 2))
    return {
        "covering": float(np.mean([covering(drawn, other) for drawn, other in pairs])),
        "variation of information": float(np.mean([variation_of_information(*pair) for pair in pairs])),
        "count": float(np.mean([len(np.unique(labels)) for labels in photograph.segments])),
    }


def means(values: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in values])) for name in values[0]}


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    with io.BytesIO() as file:
        image.save(file, "JPEG", quality=quality)
        with Image.open(file) as decoded:
            return decoded.convert("RGB")


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(
            *(f"{row[name]:.3f}" if isinstance(row.get(name), float) else row.get(name, "") for name in rows[0])
        )
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
