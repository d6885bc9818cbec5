"""``sess explain``: where the loss of a score comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_sess.cli.files import check_writable, written
from torchmetrics_sess.cli.options import (
    DeviceOption,
    ObjectsOption,
    PresetOption,
    RelationsOption,
    RescaleOption,
    SettingsOption,
    parse_settings,
)
from torchmetrics_sess.cli.output import refuse, refusing, results

if TYPE_CHECKING:
    from torchmetrics_sess.explanation import Explanation

_ROWS = 10


def explain(
    origin: Annotated[Path, typer.Argument(help="The original image.", show_default=False)],
    recon: Annotated[Path, typer.Argument(help="What was made of it.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Draw a picture: .png, .pdf or .svg.", show_default=False),
    ] = None,
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    rescale: RescaleOption = None,
    device: DeviceOption = "auto",
    objects: ObjectsOption = 6,
    relations: RelationsOption = 4,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all contributions; - is stdout, and no table."),
    ] = None,
) -> None:
    """Show which objects of an image are lost, and how much each contributes to the loss, 1 - score.

    The picture has both images side by side, matched objects in one colour, and a bar for what each object costs.

    **Examples**

        sess explain photo.png photo.jpg                     a table of what costs most
        sess explain photo.png photo.jpg -o why.png          and a picture
        sess explain photo.png photo.jpg -o why.pdf --objects 3
        sess explain photo.png photo.jpg --rescale baseline
        sess explain photo.png photo.jpg --json - | jq .rows[0]
    """
    to_stdout = json_file == Path("-")
    for path in (out, None if to_stdout else json_file):
        if path is not None:
            check_writable(path)
    if out is not None:
        check_picture(out)

    import torch

    from torchmetrics_sess.cli.stream import find_scorer, load_networks, open_device
    from torchmetrics_sess.explanation import explain_pair
    from torchmetrics_sess.images import read_image

    chosen = open_device(device)
    with refusing(ValueError):
        overrides = parse_settings(settings)
        target, preds = read_image(origin), read_image(recon)
    scorer = find_scorer(preset, overrides, rescale=rescale)
    load_networks(scorer, chosen)
    try:
        explanation = explain_pair(scorer, preds, target, chosen)
    except torch.OutOfMemoryError:
        refuse(f"{chosen} has not enough memory for these images")

    if not to_stdout:
        _show(explanation)
    if out is not None:
        from torchmetrics_sess.drawing.figures import save_figure

        figure, _ = explanation.plot(objects=objects, relations=relations)
        with written(out) as part:
            save_figure(figure, part)
    if json_file is not None:
        text = json.dumps(_content(explanation), indent=2)
        if to_stdout:
            typer.echo(text)
        else:
            with written(json_file) as part:
                part.write_text(text + "\n", encoding="utf-8")


def check_picture(path: Path) -> None:
    """End the command if pictures cannot be drawn, or not in the format that the extension of ``path`` names."""
    with refusing(ModuleNotFoundError):
        from torchmetrics_sess.drawing.figures import FORMATS
    if path.suffix.lower() not in FORMATS:
        refuse(f"cannot write {path}: a picture ends in one of {', '.join(FORMATS)}")


def _show(explanation: Explanation) -> None:
    from rich import box
    from rich.table import Table

    rows = explanation.to_rows()
    table = Table("what", "of target", "of preds", "similarity", "weight", "lost", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows[:_ROWS]:
        cells = (row["target"], row["preds"], row["similarity"], row["weight"], row["contribution"])
        table.add_row(row["kind"], *(_cell(value) for value in cells))
    if len(rows) > _ROWS:
        rest = rows[_ROWS:]
        total, weight = (sum(row[key] for row in rest) for key in ("contribution", "weight"))
        table.add_row(f"{len(rest)} more", "", "", "", _cell(weight), _cell(total))
    console = results()
    console.print(f"score {explanation.score:.4f}, loss {_cell(explanation.loss)}")
    console.print(table)
    console.print(explanation.signature, soft_wrap=True)


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    # What is lost of nothing may be a hair below 0.
    return f"{value}" if isinstance(value, int) else f"{value:.4f}".replace("-0.0000", "0.0000")


def _content(explanation: Explanation) -> dict[str, Any]:
    return {
        "signature": explanation.signature,
        "score": explanation.score,
        "loss": explanation.loss,
        "rows": explanation.to_rows(),
    }
