"""Options that several commands share."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, TypeAlias

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
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, ...; auto is cuda if there is one, else cpu."),
]
BatchSizeOption: TypeAlias = Annotated[
    int, typer.Option("--batch-size", min=1, metavar="N", help="Pairs at once: changes memory and speed, no score.")
]


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """Read settings as a preset's YAML file would.

    Raises:
        ValueError: for one that is not of the form ``key=value``.

    Example:
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
