"""Options that several commands share."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

PresetOption: TypeAlias = Annotated[
    str, typer.Option("--preset", metavar="NAME", help="A preset by name (see `sess presets`), or your own YAML file.")
]
SettingsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting of the preset, e.g. matching.iterations=3; repeatable."
    ),
]
RescaleOption: TypeAlias = Annotated[
    Literal["baseline"] | None,
    typer.Option("--rescale", help="Let unrelated images, which score the preset's baseline, score 0."),
]
CacheOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="FOLDER", help="Keep scene graphs of originals there, for later runs.", show_default=False
    ),
]
CacheSizeOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--cache-size",
        metavar="MIB",
        help="How much --cache may take; beyond it, what was not used for longest goes. By default 10240.",
        show_default=False,
    ),
]
OriginArgument: TypeAlias = Annotated[
    Path,
    typer.Argument(
        help="The originals: a folder or an image; or pairs: a .csv list, or shards (.tar, .parquet).",
        show_default=False,
    ),
]
ReconsArgument: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[RECON]...", help="What was made of them: folders, one per codec, or images.", show_default=False
    ),
]
ObjectsOption: TypeAlias = Annotated[
    int, typer.Option("--objects", min=0, metavar="N", help="Point out so many objects of the picture in colour.")
]
PiecesOption: TypeAlias = Annotated[
    bool, typer.Option("--pieces", help="Show the nodes of the scene graph, of which objects are made.")
]
RelationsOption: TypeAlias = Annotated[
    int, typer.Option("--relations", min=0, metavar="N", help="Draw so many relations among these.")
]
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, ...; auto is cuda if there is one, else cpu."),
]
BatchSizeOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--batch-size", metavar="N", help="Pairs at once; changes memory and speed, no score beyond rounding."
    ),
]
WorkersOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--workers", min=1, metavar="N", help="Threads that read images.", show_default="up to 4"),
]
DevicesOption: TypeAlias = Annotated[
    int, typer.Option("--devices", min=1, metavar="N", help="Share the work among so many devices of a machine.")
]
VocabularyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        metavar="FILE",
        help="What objects may be called, one name a line, for presets with a text tower.",
        show_default="the 133 classes of PSG",
    ),
]
OutOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write every result into a .csv or .json file.", show_default=False),
]
OverwriteOption: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Start anew, whatever is in the file of --out.")
]


def parse_batch_size(text: str) -> int | None:
    """Read a batch size: a number, or ``None`` for ``auto``.

    Raises:
        ValueError: if it is neither.

    Examples:
        >>> parse_batch_size("4"), parse_batch_size("auto")
        (4, None)
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--batch-size takes a number of at least 1, or auto, got {text!r}")
    return int(text)


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """Read settings as a preset's YAML file would.

    Raises:
        ValueError: for one that is not of the form ``key=value``.

    Examples:
        >>> parse_settings(["matching.iterations=3", "matching.beta=1e-3", "max_width=null"])
        {'matching.iterations': 3, 'matching.beta': 0.001, 'max_width': None}
    """
    return dict(_parse_setting(setting) for setting in settings or [])


def _parse_setting(setting: str) -> tuple[str, Any]:
    import yaml

    key, equals, text = setting.partition("=")
    if not (key and equals):
        raise ValueError(f"--set takes KEY=VALUE, such as matching.iterations=3, got {setting!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"the value of --set {setting!r} is not valid YAML") from error
    if isinstance(value, str):
        # YAML takes 1e-3 for text, because it has no point.
        with contextlib.suppress(ValueError):
            value = float(value)
    return key.strip(), value
