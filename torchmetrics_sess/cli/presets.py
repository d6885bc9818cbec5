"""``sess presets`` and ``sess signature``: what can be chosen, and what was."""

from __future__ import annotations

from typing import Annotated

import typer

from torchmetrics_sess.cli.options import PresetOption, SettingsOption, parse_settings
from torchmetrics_sess.cli.output import refusing, results


def presets() -> None:
    """List the presets, the weights they need, and whether these are here."""
    from rich import box
    from rich.table import Table

    from torchmetrics_sess.presets import load_preset, preset_names
    from torchmetrics_sess.weights import WEIGHTS, path_of

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("preset", style="bold")
    table.add_column("weights")
    table.add_column("size", justify="right")
    table.add_column("here")
    for preset in preset_names():
        needed = [WEIGHTS[name] for name in load_preset(preset).weights()]
        here = all(path_of(weight.name).exists() for weight in needed)
        table.add_row(
            preset,
            ", ".join(weight.name for weight in needed),
            f"{sum(weight.size for weight in needed) / 1e6:.0f} MB",
            "yes" if here else "no",
        )
    console = results()
    console.print(table)
    console.print("sess weights download PRESET brings what is not here.")


def signature(
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    long: Annotated[bool, typer.Option("--long", help="Spell the names of the settings out.")] = False,
) -> None:
    """Print the signature of a preset: everything that can change a score, to be quoted beside it.

    Scores of different signatures must not be compared.

    **Examples**

        sess signature --long                        every setting by name, as --set takes it
        sess signature --set matching.iterations=3
    """
    from torchmetrics_sess.presets import load_preset

    with refusing(ValueError, TypeError):
        chosen = load_preset(preset, parse_settings(settings))
    results().print(chosen.signature(long=long), soft_wrap=True)
