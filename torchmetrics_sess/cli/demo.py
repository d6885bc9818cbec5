"""``sess demo``: shows on four photographs what the score sees and what it overlooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, log10
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_sess.cli.options import DeviceOption, PresetOption, SettingsOption, parse_settings
from torchmetrics_sess.cli.output import refuse, refusing, results

if TYPE_CHECKING:
    from torchmetrics_sess.scoring import Scorer


def demo(
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FOLDER", help="Write the images into a new folder, too.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FOLDER", help="Write images, results and a report into a new folder."),
    ] = None,
) -> None:
    """Score four photographs against what compression, darkness, an eraser and a mix-up make of them.

    Everything it needs comes with the package, but for the weights, which are fetched on first use.

    **Examples**

        sess demo
        sess demo --report report/   makes a page of it: open report/index.html
        sess demo --save pairs/      keeps the images, to try `sess score` on
    """
    from rich import box
    from rich.table import Table

    from torchmetrics_sess.cli.distortions import distortions
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.stream import open_device, open_scorer
    from torchmetrics_sess.images import image_tensor
    from torchmetrics_sess.photographs import NAMES, open_photograph

    with refusing(ValueError):
        overrides = parse_settings(settings)
    for folder in (save, report):
        if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            refuse(f"{folder} exists already; name a new folder")
    chosen = open_device(device)
    scorer = open_scorer(preset, overrides, chosen)
    if save is not None:
        _save(save)

    originals = [image_tensor(open_photograph(name)) for name in NAMES]
    changes = distortions()
    found: dict[str, list[float]] = {}
    table = Table("compared with", *NAMES, "mean", "PSNR", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for change, apply in track(changes.items(), len(changes), "scoring"):
        changed = [image_tensor(apply(name)) for name in NAMES]
        scores = found[change] = scorer(changed, originals, chosen)
        table.add_row(change, *(f"{score:.3f}" for score in [*scores, mean(scores)]), _mean_psnr(changed, originals))
    console = results()
    console.print(table)
    console.print("PSNR: the mean in dB, which knows pixels alone.\n")
    console.print(scorer.signature(), soft_wrap=True)
    if save is not None:
        console.print(f"\nNow try: sess score {save / 'untouched'} {save / 'jpeg-10'}", soft_wrap=True)
    if report is not None:
        page = _report(report, found, scorer, device)
        console.print(f"\nNow open: {page}", soft_wrap=True)


def _report(folder: Path, scores: Mapping[str, Sequence[float]], scorer: Scorer, device: str) -> Path:
    from torchmetrics_sess.cli.report import make_report
    from torchmetrics_sess.cli.results import ResultsFile
    from torchmetrics_sess.images import FilePair
    from torchmetrics_sess.photographs import NAMES
    from torchmetrics_sess.report import read_results
    from torchmetrics_sess.results import Row

    images, source = folder / "images", folder / "results.csv"
    _save(images)
    with refusing(OSError, ValueError):
        with ResultsFile(source, signature=scorer.signature()) as file:
            origins, *changed = (_subfolder(images, change) for change in scores)
            # The first are the originals: compared with themselves, they would take every place among the best.
            for recons, found in zip(changed, list(scores.values())[1:], strict=True):
                for name, score in zip(NAMES, found, strict=True):
                    image = f"{name}.png"
                    pair = FilePair(image, str(origins / image), str(recons / image), str(recons))
                    file.append([Row(pair, score)])
        return make_report(read_results(source), source, folder, scorer=scorer, device=device, pictures=3)


def _mean_psnr(images: Sequence[Any], originals: Sequence[Any]) -> str:
    if any(image.shape != original.shape for image, original in zip(images, originals, strict=True)):
        return "-"
    errors = [
        (image.double() - original).square().mean().item() for image, original in zip(images, originals, strict=True)
    ]
    return f"{mean(10 * log10(255**2 / error) if error else inf for error in errors):.1f}"


def _save(folder: Path) -> None:
    from torchmetrics_sess.cli.distortions import distortions
    from torchmetrics_sess.photographs import NAMES

    with refusing(OSError):
        for change, apply in distortions().items():
            subfolder = _subfolder(folder, change)
            subfolder.mkdir(parents=True, exist_ok=True)
            for name in NAMES:
                apply(name).save(subfolder / f"{name}.png")


def _subfolder(folder: Path, change: str) -> Path:
    return folder / change.lower().replace(" ", "-")
