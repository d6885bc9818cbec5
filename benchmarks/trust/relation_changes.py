"""What are the relations of a scene graph for? Scenes in which only the relation of two objects changes.

    python -m benchmarks.trust.relation_changes CUTOUTS PHOTOGRAPHS [--half report] [--scenes 12] [--graphs FOLDER]

CUTOUTS and PHOTOGRAPHS are those of ``pasted.py``. Of every scene, each change that keeps the relation (both objects
moved, scaled or mirrored together) is held against each that does not: counted is how often the first scores higher,
half if both score the same. One half is what chance has. Graphs are extracted once, and matched with several settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.shared.reporting import write_results
from benchmarks.trust.hard_distortions import erase, load_drawn
from benchmarks.trust.measures import EMBEDDING
from benchmarks.trust.relation_scenes import KEPT, RELATIONS, relation_scene
from torchmetrics_sess.bootstrap import confidence_interval
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import image_tensor
from torchmetrics_sess.matching import PreparedPairs
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.presets.pool import pooled_networks

# What differs from the preset, and whether relations are shuffled. `alpha` 0 keeps which objects are neighbours, and
# forgets how they relate.
NEIGHBOURS = {"iterations": 2, "beta": 0.3, "alpha": 0.5}
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "as it is": ({}, False),
    "without positions (theta 0)": ({"theta": 0.0}, False),
    "more of positions (theta .3)": ({"theta": 0.3}, False),
    "image share .2": ({"image_weight": 0.2}, False),
    "with relations": (NEIGHBOURS, False),
    "with relations, shuffled": (NEIGHBOURS, True),
    "with neighbours only (alpha 0)": (NEIGHBOURS | {"alpha": 0.0}, False),
    "with relations, without positions": (NEIGHBOURS | {"theta": 0.0}, False),
    "with relations, shuffled, without positions": (NEIGHBOURS | {"theta": 0.0}, True),
}


def shuffled(graph: SceneGraph, random: np.random.Generator) -> SceneGraph:
    """Give the relations of every object to another one."""
    order = torch.from_numpy(random.permutation(len(graph)))
    return replace(graph, relation=graph.relation[order][:, order], confidence=graph.confidence[order][:, order])


def told_apart(kept: Sequence[float], lost: Sequence[float]) -> float:
    """Return how often what keeps the relation scores above what does not.

    Examples:
        >>> told_apart([0.9, 0.7], [0.8, 0.7])
        0.625
    """
    return float(np.mean([(k > other) + 0.5 * (k == other) for k in kept for other in lost]))


def graphs_of(images: dict[str, Image.Image], extractor: Any, file: Path | None) -> dict[str, SceneGraph]:
    """Return the graphs of a scene and its changes, read from a file if that is there."""
    if file is None or not file.exists():
        graphs = extractor([image_tensor(image) for image in images.values()], masks=False)
        if file is None:
            return dict(zip(images, graphs, strict=True))
        tensors = [{name: value for name, value in vars(graph).items() if value is not None} for graph in graphs]
        part = file.with_suffix(".part")
        torch.save(tensors, part)
        part.replace(file)
    return {
        name: SceneGraph(**tensors) for name, tensors in zip(images, torch.load(file, weights_only=True), strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cutouts", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--half", choices=["tune", "report"], help="only every other photograph, by name")
    parser.add_argument("--scenes", type=int, default=12, help="of every relation")
    parser.add_argument("--graphs", type=Path, help="folder to keep graphs in, for a run that goes on")
    arguments = parser.parse_args()

    preset = load_preset("lite")
    networks = pooled_networks(preset, torch.device("cpu"))
    start, step = {None: (0, 1), "tune": (0, 2), "report": (1, 2)}[arguments.half]
    drawn = load_drawn(arguments.photographs)
    backgrounds = [erase(drawn[name]) for name in sorted(drawn)[start::step]]
    cutouts = sorted(arguments.cutouts.glob("*.png"))
    if arguments.graphs:
        arguments.graphs.mkdir(parents=True, exist_ok=True)

    scenes: list[tuple[str, dict[str, SceneGraph]]] = []
    for number, relation in enumerate(RELATIONS):
        for index in range(arguments.scenes):
            random = np.random.default_rng((number, index))
            a, b = (Image.open(cutouts[k]).convert("RGBA") for k in random.choice(len(cutouts), 2, replace=False))
            images = relation_scene(relation, backgrounds[random.integers(len(backgrounds))], a, b, index)
            file = arguments.graphs / f"{number}-{index:03}.pt" if arguments.graphs else None
            scenes.append((relation, graphs_of(images, networks.extractor, file)))

    originals = [graphs["scene"] for _, graphs in scenes for name in graphs if name != "scene"]
    changed = [graph for _, graphs in scenes for name, graph in graphs.items() if name != "scene"]
    scores = {EMBEDDING: [float(a.image_feature @ b.image_feature) for a, b in zip(changed, originals, strict=True)]}
    random = np.random.default_rng(0)
    right = PreparedPairs(changed, originals, networks.relation_similarity)
    wrong = PreparedPairs(
        [shuffled(graph, random) for graph in changed],
        [shuffled(graph, random) for graph in originals],
        networks.relation_similarity,
    )
    for title, (settings, is_shuffled) in VARIANTS.items():
        scores[title] = (wrong if is_shuffled else right).scores(replace(preset.matching, **settings))

    changes = [[(relation, name) for name in graphs if name != "scene"] for relation, graphs in scenes]
    rows: list[dict[str, Any]] = []
    shares: dict[str, dict[str, list[float]]] = {}
    for title, values in scores.items():
        left = iter(values)
        means: dict[tuple[str, str], list[float]] = {}
        for names in changes:
            found = {name: next(left) for _, name in names}
            [relation] = {relation for relation, _ in names}
            kept = [found[name] for name in KEPT]
            lost = [value for name, value in found.items() if name not in KEPT]
            shares.setdefault(title, {}).setdefault(relation, []).append(told_apart(kept, lost))
            for name, value in found.items():
                means.setdefault((relation, name), []).append(value)
        row: dict[str, Any] = {"variant": title, "n": len(changes)}
        for relation, share in [("all", row_of(shares, title)), *shares[title].items()]:
            row |= {relation: float(np.mean(share)), f"{relation}, interval": interval(share)}
        if title != EMBEDDING:
            # Paired, scene by scene.
            difference = np.subtract(row_of(shares, title), row_of(shares, "as it is"))
            row |= {"against as it is": float(difference.mean()), "against as it is, interval": interval(difference)}
        row["means"] = {f"{relation}: {name}": float(np.mean(value)) for (relation, name), value in means.items()}
        rows.append(row)

    columns = ["all", *RELATIONS]
    table = Table("variant", *columns, title=f"told apart; {arguments.scenes} scenes of every relation; 95 % intervals")
    for row in rows:
        cells = [f"{row[c]:.2f} [{row[f'{c}, interval'][0]:.2f}, {row[f'{c}, interval'][1]:.2f}]" for c in columns]
        table.add_row(row["variant"], *cells)
    Console(width=170).print(table)
    command = ["python", "-m", "benchmarks.trust.relation_changes", *sys.argv[1:]]
    extra = {"scenes": arguments.scenes, "half": arguments.half, "signature": preset.signature()}
    print(write_results("relation_changes", [*rows, extra], command))


def row_of(shares: dict[str, dict[str, list[float]]], title: str) -> list[float]:
    """Return the shares of all scenes."""
    return [share for relation in shares[title].values() for share in relation]


def interval(values: Any) -> list[float]:
    """Return the bootstrap interval of a mean over scenes."""
    return list(confidence_interval(torch.as_tensor(np.asarray(values))))


if __name__ == "__main__":
    main()
