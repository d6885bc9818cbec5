"""What every command says, and how: results on stdout, all else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console


def results() -> Console:
    """Return the console for results, in which nothing is taken for markup."""
    return Console(markup=False, highlight=False)


class Refusal(typer.Exit):
    """The end of a command that cannot run.

    Args:
        message: why, in a sentence.
    """

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


def note(message: str) -> None:
    """Say something that is no result."""
    if not _muted:
        typer.echo(f"sess: {message}", file=sys.stderr)


def mute() -> None:
    """Say nothing from now on, because another process of the same command says it."""
    global _muted
    _muted = True


class Interruption(typer.Exit):
    """The end of a command by Ctrl-C that has said so."""

    def __init__(self) -> None:
        super().__init__(130)


def refuse(message: str) -> NoReturn:
    """End a command that cannot run."""
    note(message)
    raise Refusal(message)


def is_muted() -> bool:
    """Say whether another process of the same command talks."""
    return _muted


@contextmanager
def refusing(*errors: type[Exception], **options: str) -> Iterator[None]:
    """End the command if one of ``errors`` is raised, with its message in place of a traceback.

    Args:
        errors: which ones.
        options: what the command calls the arguments that messages name.
    """
    try:
        yield
    except errors as error:
        message = str(error)
        for argument, option in options.items():
            message = message.replace(f"`{argument}`", option)
        refuse(message)


_muted = False
