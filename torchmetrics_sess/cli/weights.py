"""``sess weights``: what networks need, where it is, and whether it is what it should be."""

from __future__ import annotations

from typing import Annotated

import typer

from torchmetrics_sess.cli.output import note, refuse, refusing, results

weights = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Bring weights of networks here, and look after them."
)

_Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Weights, or presets by name or YAML file.", show_default=False),
]


@weights.command("list")
def list_weights() -> None:
    """List all weights: size, licence, what they are for, where they come from, and whether they are here."""
    from rich import box
    from rich.table import Table

    from torchmetrics_sess.presets import presets_with
    from torchmetrics_sess.weights import WEIGHTS, path_of

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("weights", style="bold")
    table.add_column("size", justify="right")
    table.add_column("presets")
    table.add_column("here")
    for weight in WEIGHTS.values():
        here = "yes" if path_of(weight.name).exists() else "no"
        table.add_row(weight.name, f"{weight.size / 1e6:.0f} MB", ", ".join(presets_with([weight.name])), here)
    console = results()
    console.print(table)
    for weight in WEIGHTS.values():
        console.print(f"{weight.name}: {weight.licence}; {weight.source}", soft_wrap=True)


@weights.command()
def download(names: _Names = None) -> None:
    """Bring weights to this machine, if they are not here yet, and check them.

    By default, those of the preset lite. A download that was cut off goes on where it stopped.

    **Examples**

        sess weights download
        sess weights download reference          a preset: all it needs
        SESS_HOME=/shared/sess sess weights download lite
    """
    from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError, fetch_all

    chosen = _resolve(names or ["lite"])
    with refusing(MissingWeightError, CorruptWeightError):
        paths = fetch_all(chosen)
    for name, path in zip(chosen, paths, strict=True):
        typer.echo(f"{name}: {path}")


@weights.command()
def verify(names: _Names = None) -> None:
    """Check the SHA-256 of weights: of those named, or of all that are here.

    The exit code is 1 if a file is not what it should be.

    **Examples**

        sess weights verify
        sess weights verify reference
    """
    from torchmetrics_sess.weights import WEIGHTS, path_of

    chosen = _resolve(names) if names else [name for name in WEIGHTS if path_of(name).exists()]
    wrong = [name for name in chosen if not _is_right(name)]
    if wrong:
        raise typer.Exit(1)


@weights.command()
def path(name: Annotated[str | None, typer.Argument(help="Weights by name.", show_default=False)] = None) -> None:
    """Print where weights are kept: the folder, or the file of one.

    The environment variable SESS_HOME moves the folder.

    **Examples**

        sess weights path
        sess weights path lite
    """
    from torchmetrics_sess.weights import home, path_of

    with refusing(ValueError):
        typer.echo(home() if name is None else path_of(name))


def _is_right(name: str) -> bool:
    from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError, verify

    try:
        verify(name)
    except (MissingWeightError, CorruptWeightError) as error:
        note(str(error))
        return False
    typer.echo(f"{name}: as expected")
    return True


def _resolve(names: list[str]) -> list[str]:
    """Return the weights that ``names``, of weights or presets, stand for."""
    from torchmetrics_sess.config import nearest
    from torchmetrics_sess.presets import load_preset, preset_names
    from torchmetrics_sess.weights import WEIGHTS

    resolved: dict[str, None] = {}
    for name in names:
        if name in WEIGHTS:
            resolved[name] = None
        elif name in preset_names() or name.endswith((".yaml", ".yml")):
            with refusing(ValueError, TypeError):
                resolved |= dict.fromkeys(load_preset(name).weights())
        else:
            refuse(f"there are no weights {name!r}{nearest(name, [*WEIGHTS, *preset_names()])}")
    return list(resolved)
