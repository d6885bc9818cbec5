"""``sess explain``: where the loss of a score comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_sess.cli.files import check_writable, written
from torchmetrics_sess.cli.naming import open_namer
from torchmetrics_sess.cli.options import (
    DeviceOption,
    ObjectsOption,
    PiecesOption,
    PresetOption,
    RelationsOption,
    RescaleOption,
    SettingsOption,
    VocabularyOption,
    parse_settings,
)
from torchmetrics_sess.cli.output import refuse, refusing, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_sess.explanation import Explanation
    from torchmetrics_sess.naming import ObjectName

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
    relations: RelationsOption = 0,
    pieces: PiecesOption = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all contributions; - is stdout, and no table."),
    ] = None,
    vocabulary: VocabularyOption = None,
) -> None:
    """Show which objects of an image are lost, and how much each contributes to the loss, 1 - score.

    The picture has both images side by side, matched objects in one colour, a bar for what each object costs, and a
    sentence that says it. With --pieces, table, picture and file are about the nodes of the scene graphs instead.
    Presets with a text tower name objects, with a question mark where the best name is less probable than all others
    together.

    **Examples**

        sess explain photo.png photo.jpg                     a table of what costs most
        sess explain photo.png photo.jpg -o why.png          and a picture
        sess explain photo.png photo.jpg -o why.pdf --objects 3
        sess explain photo.png photo.jpg --pieces            what objects are made of
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
    extractor = load_networks(scorer, chosen).extractor
    try:
        explanation = explain_pair(scorer, preds, target, chosen)
    except torch.OutOfMemoryError:
        refuse(f"{chosen} has not enough memory for these images")

    if not pieces:
        explanation = explanation.objects
    namer = open_namer(extractor, vocabulary)
    target_names, preds_names = (
        None if namer is None else namer(graph) for graph in (explanation.target, explanation.preds)
    )
    # Files first: who reads what is printed may have gone away.
    if out is not None:
        from torchmetrics_sess.drawing.figures import save_figure

        names = None if target_names is None else [str(name) for name in target_names]
        figure, _ = explanation.plot(objects=objects, relations=relations, names=names, pieces=pieces)
        with written(out) as part:
            save_figure(figure, part)
    text = json.dumps(_content(explanation, target_names, preds_names), indent=2)
    if to_stdout:
        typer.echo(text)
        return
    if json_file is not None:
        with written(json_file) as part:
            part.write_text(text + "\n", encoding="utf-8")
    _show(explanation, target_names, preds_names)


def check_picture(path: Path) -> None:
    """End the command if pictures cannot be drawn, or not in the format that the extension of ``path`` names."""
    with refusing(ModuleNotFoundError):
        from torchmetrics_sess.drawing.figures import FORMATS
    if path.suffix.lower() not in FORMATS:
        refuse(f"cannot write {path}: a picture ends in one of {', '.join(FORMATS)}")


def _show(
    explanation: Explanation, target_names: Sequence[ObjectName] | None, preds_names: Sequence[ObjectName] | None
) -> None:
    from rich import box
    from rich.table import Table

    rows = explanation.to_rows(pieces=explanation.grouping is None)
    table = Table("what", "of target", "of preds", "similarity", "weight", "lost", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows[:_ROWS]:
        objects = _called(row["target"], target_names), _called(row["preds"], preds_names)
        numbers = (row["similarity"], row["weight"], row["contribution"])
        table.add_row(row["kind"], *objects, *(_cell(value) for value in numbers))
    if len(rows) > _ROWS:
        rest = rows[_ROWS:]
        total, weight = (sum(row[key] for row in rest) for key in ("contribution", "weight"))
        table.add_row(f"{len(rest)} more", "", "", "", _cell(weight), _cell(total))
    console = results()
    console.print(f"score {explanation.score:.4f}, loss {_cell(explanation.loss)}")
    if explanation.grouping is not None:
        names = None if target_names is None else [str(name) for name in target_names]
        console.print(explanation.in_words(names), soft_wrap=True)
    console.print(table)
    console.print(explanation.signature, soft_wrap=True)


def _called(number: int | None, names: Sequence[ObjectName] | None) -> str:
    if number is None:
        return ""
    return f"{number}" if names is None else f"{number} {names[number]}"


def _cell(value: float | None) -> str:
    # What is lost of nothing may be a hair below 0.
    return "" if value is None else f"{value:.4f}".replace("-0.0000", "0.0000")


def _content(
    explanation: Explanation, target_names: Sequence[ObjectName] | None, preds_names: Sequence[ObjectName] | None
) -> dict[str, Any]:
    names = {
        side: [{"name": name.name, "probability": name.probability, "sure": name.sure} for name in given]
        for side, given in (("target_names", target_names), ("preds_names", preds_names))
        if given is not None
    }
    grouping: dict[str, Any] = {}
    if explanation.grouping is not None:
        of_preds, of_target = (group.tolist() for group in explanation.grouping)
        grouping = {"words": explanation.in_words(), "target_pieces": of_target, "preds_pieces": of_preds}
    return {
        **names,
        **grouping,
        "signature": explanation.signature,
        "score": explanation.score,
        "loss": explanation.loss,
        "rows": explanation.to_rows(pieces=explanation.grouping is None),
    }
