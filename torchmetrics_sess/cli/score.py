"""``sess score``: compares two images, or two folders of images."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from torchmetrics_sess.cli.options import BatchSizeOption, DeviceOption, PresetOption, SettingsOption, parse_settings
from torchmetrics_sess.cli.output import note, refuse, refusing, results

_WORST = 5
_FAILURES_SHOWN = 20


@dataclass(frozen=True)
class _Results:
    """What a run found out, ready to be shown or written."""

    signature: str
    scores: Sequence[tuple[str, float]]
    failures: Sequence[tuple[str, str]]

    @property
    def mean(self) -> float | None:
        return sum(score for _, score in self.scores) / len(self.scores) if self.scores else None


def score(
    origin: Annotated[Path, typer.Argument(help="The originals: a folder, or one image.", show_default=False)],
    recon: Annotated[Path, typer.Argument(help="What was made of them: a folder, or one image.", show_default=False)],
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = 8,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write scores, failures and signature; - is stdout, and no table."),
    ] = None,
) -> None:
    """Score how much of the meaning of each original its reconstruction keeps: 1 is all of it.

    Folders are searched with their subfolders. An image pairs up with the one of the same relative path or, failing
    that, of the same path but for the extension. Any format that Pillow reads will do; the images of a pair may differ
    in size. What cannot be read or has no partner is named and left out, and the exit code is 1.

    **Examples**

        sess score photo.png photo.jpg                       two files
        sess score kodak/ decoded/                           two folders
        sess score kodak/ decoded/ --json scores.json        every score, in a file
        sess score kodak/ decoded/ --json - | jq .mean       only JSON on stdout
        sess score kodak/ decoded/ --set matching.theta=0.1  a setting changed
    """
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.stream import load_pairs, open_device, open_scorer, score_pairs
    from torchmetrics_sess.image_files import pair_files

    with refusing(ValueError):
        overrides = parse_settings(settings)
        pairing = pair_files(origin, recon)
    if not pairing.pairs:
        refuse(f"no image in {origin} has a partner of the same name in {recon}")
    to_stdout = json_file == Path("-")
    if json_file is not None and not to_stdout and (json_file.is_dir() or not os.access(json_file.parent, os.W_OK)):
        refuse(f"cannot write {json_file}: it is a folder, or lies in one that does not exist or is write-protected")

    chosen = open_device(device)
    scorer = open_scorer(preset, overrides, chosen)
    # What Pillow has to say about single files would tear the progress bar apart.
    warnings.filterwarnings("ignore", module="PIL")

    scores: list[tuple[str, float]] = []
    failures: list[tuple[str, str]] = []
    noted = False
    loaded = load_pairs(pairing.pairs, ahead=batch_size)
    outcomes = score_pairs(loaded, scorer, device=chosen, batch_size=batch_size)
    for outcome in track(outcomes, len(pairing.pairs), "scoring"):
        if outcome.score is None:
            failures.append((outcome.name, outcome.failure or ""))
            continue
        scores.append((outcome.name, outcome.score))
        if outcome.sizes_differ and not noted:
            note(
                f"the images of {outcome.name} differ in size; such pairs are compared as they are, neither is resized"
            )
            noted = True
    failures += pairing.unpaired.items()

    found = _Results(scorer.signature(), scores, failures)
    if not to_stdout:
        _show(found, folders=origin.is_dir())
    if json_file is not None:
        _write(found, None if to_stdout else json_file)
    if failures:
        raise typer.Exit(1)


def _show(found: _Results, *, folders: bool) -> None:
    console = results()
    if found.mean is None:
        console.print("no pair could be scored", soft_wrap=True)
    elif folders:
        worst = sorted(found.scores, key=lambda pair: pair[1])[:_WORST]
        _show_table(len(found.scores), found.mean, worst)
    else:
        console.print(f"{found.mean:.4f}")
    if found.failures:
        console.print(f"\nnot scored: {len(found.failures)}")
        for name, reason in found.failures[:_FAILURES_SHOWN]:
            console.print(f"  {name}: {reason}", soft_wrap=True)
        if len(found.failures) > _FAILURES_SHOWN:
            console.print(f"  and {len(found.failures) - _FAILURES_SHOWN} more; --json lists all of them")
    console.print(f"\n{found.signature}", soft_wrap=True)


def _show_table(count: int, mean: float, worst: Sequence[tuple[str, float]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_row("pairs", str(count))
    table.add_row("mean", f"{mean:.4f}", style="bold")
    table.add_row("min", f"{worst[0][1]:.4f}", end_section=True)
    for rank, (name, score) in enumerate(worst):
        table.add_row("worst" if rank == 0 else "", f"{score:.4f}", Text(name))
    results().print(table)


def _write(found: _Results, path: Path | None) -> None:
    content = {
        "signature": found.signature,
        "mean": found.mean,
        "scores": [{"name": name, "score": score} for name, score in found.scores],
        "failures": [{"name": name, "reason": reason} for name, reason in found.failures],
    }
    text = json.dumps(content, indent=2)
    if path is None:
        typer.echo(text)
        return
    # A reader never meets half a file.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with refusing(OSError):
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)
