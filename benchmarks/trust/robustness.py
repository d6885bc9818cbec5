"""Does the score see through damage that people see through? At the limit of codecs and channels, beside lost objects.

    python -m benchmarks.trust.robustness [FOLDER] [--half tune|report] [--preset lite] [--set name=value] [--quick]

Every photograph is distorted as far as codecs and channels do at their limit (``hard_distortions.py``); its main
object is erased, cut out, or swapped for another one; and it is compared with other photographs. Printed per
distortion: the mean of every measure, how often the distorted photograph is above the one without its object, and how
well it is told from other photographs (area under the ROC curve).

FOLDER holds ``NAME.jpg`` with ``NAME.object.png``, white where people drew the main object; by default, those
photographs of scikit-image and scikit-learn that have one. ``--half`` takes every other photograph by name: settings
were chosen on ``tune``, results are those of ``report``. ``--jscc CHECKPOINT`` adds what the Deep JSCC of
``examples/deep_jscc`` receives at -5 dB.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.shared.photographs import OBJECTS, load_photographs
from benchmarks.shared.reporting import write_results, write_scores
from benchmarks.shared.statistics import leads
from benchmarks.trust.edits import box_region
from benchmarks.trust.hard_distortions import DrawnScene, cut_out, erase, hard_distortions, load_drawn, move, swap
from benchmarks.trust.measures import MEASURES, SESS, Measures
from benchmarks.trust.ranking import separation
from torchmetrics_sess.images import image_tensor
from torchmetrics_sess.presets import load_preset

if TYPE_CHECKING:
    from examples.deep_jscc.module import DeepJSCC

ERASED = "object erased"
LOST = (ERASED, "object cut out", "object swapped")
OTHERS = "another photograph"
TURNED = ("turned by 90°", "turned by 180°")
MOVED = "object moved"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="photographs with objects that people drew")
    parser.add_argument("--half", choices=["tune", "report"], help="only every other photograph, by name")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the preset")
    parser.add_argument("--jscc", type=Path, metavar="CHECKPOINT", help="of examples/deep_jscc")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--name", help="of the file in `results`")
    parser.add_argument("--quick", action="store_true", help="four photographs; nothing is written")
    arguments = parser.parse_args()

    overrides = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in arguments.set)}
    measures = Measures(load_preset(arguments.preset, overrides), torch.device(arguments.device))
    scenes = half(load_drawn(arguments.folder) if arguments.folder else boxed_scenes(), arguments.half)
    if arguments.quick:
        scenes = dict(itertools.islice(scenes.items(), 4))
    distortions = dict(hard_distortions())
    if arguments.jscc:
        distortions["Deep JSCC, -5 dB"] = partial(deep_jscc, _load_jscc(arguments.jscc), -5.0)

    found = score(scenes, distortions, measures)
    rows, summary = summarise(found, list(distortions))
    compared = compare(found, list(distortions))
    console = Console(width=170)
    console.print(_table(f"{len(scenes)} photographs", rows))
    console.print(_table("summary", summary))
    console.print(_table("SeSS above other measures, paired", compared))
    console.print(measures.preset.signature(), soft_wrap=True)
    if not arguments.quick:
        name = arguments.name or f"robustness-{arguments.preset}-{arguments.folder.name if arguments.folder else 'own'}"
        extra = {"photographs": len(scenes), "half": arguments.half, "signature": measures.preset.signature()}
        print(
            write_results(
                name,
                [*rows, *summary, *compared, extra],
                ["python", "-m", "benchmarks.trust.robustness", *sys.argv[1:]],
            )
        )
        print(write_scores(name, per_photograph(list(scenes), found)))


def half(scenes: Mapping[str, DrawnScene], which: str | None) -> dict[str, DrawnScene]:
    """Return every other scene by name, or all of them."""
    start, step = {None: (0, 1), "tune": (0, 2), "report": (1, 2)}[which]
    return {name: scenes[name] for name in sorted(scenes)[start::step]}


def boxed_scenes() -> dict[str, DrawnScene]:
    """Return the project's own photographs that have a main object."""
    scenes = {}
    for name, image in load_photographs().items():
        box = OBJECTS[name]
        if box is not None:
            scenes[name] = DrawnScene(image, box_region(image, box))
    return scenes


def score(
    scenes: Mapping[str, DrawnScene],
    distortions: Mapping[str, Callable[[Image.Image, int], Image.Image]],
    measures: Measures,
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the scores of all photographs, by change and measure."""
    names = list(scenes)
    found: dict[str, dict[str, list[float]]] = {}
    for seed, name in enumerate(track(names, description="photographs", disable=not sys.stdout.isatty())):
        scene = scenes[name]
        changed = {title: distort(scene.image, seed) for title, distort in distortions.items()}
        changed |= {ERASED: erase(scene), LOST[1]: cut_out(scene)}
        changed |= {LOST[2]: swap(scene, scenes[names[(seed + 7) % len(names)]]), MOVED: move(scene)}
        turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180)
        changed |= {title: scene.image.transpose(turn) for title, turn in zip(TURNED, turns, strict=True)}
        for title, values in zip(changed, measures.against(scene.image, list(changed.values())), strict=True):
            for measure, value in values.items():
                found.setdefault(title, {}).setdefault(measure, []).append(value)
    pairs = list(itertools.combinations(range(len(names)), 2))
    chosen = [pairs[index] for index in np.random.default_rng(0).permutation(len(pairs))[:150]]
    for values in measures.between([scenes[name].image for name in names], chosen):
        for measure, value in values.items():
            found.setdefault(OTHERS, {}).setdefault(measure, []).append(value)
    return {title: {m: np.array(v) for m, v in values.items()} for title, values in found.items()}


def summarise(
    found: Mapping[str, Mapping[str, NDArray[np.float64]]], distortions: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a row per change, and a row per summary number."""
    unrelated = found[OTHERS][SESS].mean()
    rows = []
    for title, values in found.items():
        row: dict[str, Any] = {"change": title}
        row["SeSS, rescaled"] = float((values[SESS].mean() - unrelated) / (1 - unrelated))
        row |= {measure: float(values[measure].mean()) for measure in MEASURES}
        if title in distortions:
            row |= {f"above, {m}": float((values[m] > found[ERASED][m]).mean()) for m in MEASURES}
            row |= {f"AUC, {m}": separation(values[m], found[OTHERS][m]) for m in MEASURES}
        rows.append(row)
    summary = []
    for lost in LOST:
        above = {m: [(found[title][m] > found[lost][m]).mean() for title in distortions] for m in MEASURES}
        summary.append({"number": f"hard ordering, above {lost}"} | {m: float(np.mean(above[m])) for m in MEASURES})
        summary.append({"number": "  of the worst distortion"} | {m: float(np.min(above[m])) for m in MEASURES})
    hard = {m: np.concatenate([found[title][m] for title in distortions]) for m in MEASURES}
    summary.append(
        {"number": "AUC, distorted against other"} | {m: separation(hard[m], found[OTHERS][m]) for m in MEASURES}
    )
    return rows, summary


def compare(found: Mapping[str, Mapping[str, NDArray[np.float64]]], distortions: list[str]) -> list[dict[str, Any]]:
    """Return how far the score is above every other measure, by numbers of every photograph, with intervals."""
    rows = []
    for lost in LOST:
        above = {m: np.mean([found[title][m] > found[lost][m] for title in distortions], 0) for m in MEASURES}
        rows += leads(f"hard ordering, above {lost}", above)
    apart = {
        m: np.mean([_separations(found[title][m], found[OTHERS][m]) for title in distortions], 0) for m in MEASURES
    }
    return rows + leads("AUC, distorted against other", apart)


def per_photograph(
    names: list[str], found: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> list[dict[str, str | float]]:
    """Return a row per photograph and change; pairs of other photographs have no name."""
    return [
        {"photograph": names[k] if title != OTHERS else "", "change": title}
        | {measure: float(values[measure][k]) for measure in MEASURES}
        for title, values in found.items()
        for k in range(len(values[SESS]))
    ]


def _separations(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for every one of the first how often it exceeds one of the second; their mean is `separation`."""
    return np.array([separation([value], lower) for value in higher])


def deep_jscc(model: DeepJSCC, snr: float, image: Image.Image, seed: int) -> Image.Image:
    """Return what the Deep JSCC of the examples receives."""
    # Its network takes sides that are multiples of 4.
    width, height = (side // 4 * 4 for side in image.size)
    sent = image_tensor(image.resize((width, height)))[None].float() / 255
    with torch.no_grad():
        received = model(sent, torch.tensor([snr]), generator=torch.Generator().manual_seed(seed))[0]
    pixels = (255 * received).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize(image.size)


def _load_jscc(checkpoint: Path) -> DeepJSCC:
    from examples.deep_jscc.module import DeepJSCC

    return DeepJSCC.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(*columns, title=title)
    for row in rows:
        values = [row.get(column, "") for column in columns]
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values))
    return table


if __name__ == "__main__":
    main()
