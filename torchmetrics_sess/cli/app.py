"""The commands of ``sess``, put together.

What is imported here has to be quick: the networks and all they need come in with the command that uses them.
"""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Annotated, TextIO

import typer

from torchmetrics_sess.__about__ import __version__
from torchmetrics_sess.cli.agree import agree
from torchmetrics_sess.cli.annotate import annotate
from torchmetrics_sess.cli.compare import compare
from torchmetrics_sess.cli.curve import curve
from torchmetrics_sess.cli.demo import demo
from torchmetrics_sess.cli.explain import explain
from torchmetrics_sess.cli.extract import extract
from torchmetrics_sess.cli.graph import graph
from torchmetrics_sess.cli.output import Interruption, note
from torchmetrics_sess.cli.presets import presets, signature
from torchmetrics_sess.cli.relations import relations
from torchmetrics_sess.cli.report import report
from torchmetrics_sess.cli.score import score
from torchmetrics_sess.cli.tune import tune
from torchmetrics_sess.cli.weights import weights

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (score, compare, curve, report, explain, graph, extract, annotate, agree, tune, demo, presets, signature)
for command in _COMMANDS:
    app.command()(command)
app.add_typer(weights, name="weights")
app.add_typer(relations, name="relations")


def main() -> None:
    """Run ``sess``."""
    # File names need not be valid text; printing one must not end the run.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    try:
        app(prog_name="sess")
    except SystemExit as end:
        # Typer ends at Ctrl-C without a word.
        if end.code == 130 and not isinstance(end.__context__, Interruption):
            note("interrupted")
        raise


_OURS = Path(__file__).parents[1]
_show_foreign_warning = warnings.showwarning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say what this package warns of in a line, as all that commands say; who reads that has no use for its code."""
    if _OURS in Path(filename).parents:
        note(str(message))
    else:
        _show_foreign_warning(message, category, filename, lineno, file, line)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"torchmetrics-sess {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _sess(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """How much of the meaning of an image is left in another one: the semantic similarity score, SeSS.

    1 means that nothing is lost.

    **Examples**

        sess demo                         what the score sees, on four photographs
        sess score photo.png photo.jpg    two images
        sess score originals/ decoded/    two folders of images

    Exit codes: 0, all is well; 1, some of it is not, and the output says what; 2, the command could not run.
    """
