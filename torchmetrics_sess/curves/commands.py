"""Encoders and decoders that are programs: run without a shell, and with a time limit."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from torchmetrics_sess.atomic import replacing

# What a program says last is what went wrong.
_LAST_WORDS = 200


def parse_command(text: str, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take a line of two commands apart, the encoder and, after a semicolon, the decoder.

    Args:
        text: both, quoted as in a shell, with the placeholders ``{in}``, ``{bits}`` and ``{q}``, then ``{bits}`` and
            ``{out}``.
        name: what the codec is called.

    Raises:
        ValueError: if there are not two, or they do not name the files that they read and write.
    """
    usage = f"--codec {name}='ENCODER {{in}} {{bits}} {{q}}; DECODER {{bits}} {{out}}'"
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError as error:
        raise ValueError(f"{usage} is expected, got {text!r}: {error}") from error
    if words.count(";") != 1:
        raise ValueError(f"{usage} is expected, two commands with a semicolon between them, got {text!r}")
    middle = words.index(";")
    commands = tuple(words[:middle]), tuple(words[middle + 1 :])
    for command, needed in zip(commands, (("{in}", "{bits}"), ("{bits}", "{out}")), strict=True):
        lacking = [placeholder for placeholder in needed if not any(placeholder in word for word in command)]
        if lacking:
            raise ValueError(f"{usage} is expected: {shlex.join(command) or 'nothing'} lacks {' and '.join(lacking)}")
    return commands


def make_file(command: Sequence[str], path: Path, values: Mapping[str, str], output: str, seconds: float) -> None:
    """Run a command that writes a file, and put that in place: all of it or none.

    Args:
        command: its arguments, with placeholders.
        path: the file.
        values: what stands in the place of placeholders.
        output: the placeholder of the file.
        seconds: how long it may take.

    Raises:
        ValueError: if the command is not there, fails, takes longer, or writes nothing.
    """
    with replacing(path) as part:
        run_command(fill(command, {**values, output: str(part)}), seconds)
        if not part.exists():
            raise ValueError(f"{command[0]} wrote no file to {{{output}}}")
        if part.stat().st_size == 0:
            raise ValueError(f"{command[0]} wrote an empty file to {{{output}}}")


def fill(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Put values in the place of placeholders; no other braces are touched.

    Examples:
        >>> fill(["enc", "--quality={q}", "{in}", "{else}"], {"in": "a b[1]{q}.png", "q": "5"})
        ['enc', '--quality=5', 'a b[1]{q}.png', '{else}']
    """
    # At once, as a value may hold what looks like the placeholder of another.
    placeholder = re.compile("|".join(re.escape(f"{{{name}}}") for name in values))
    return [placeholder.sub(lambda found: values[found[0][1:-1]], word) for word in command]


def run_command(command: Sequence[str], seconds: float) -> str:
    """Run a program and return what it printed.

    Raises:
        ValueError: if it is not there, fails, or takes longer; it is ended then, with whatever it has started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command, and no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ValueError(f"{command[0]} cannot be run: {(error.strerror or str(error)).lower()}") from error
    try:
        printed, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{command[0]} did not end within {seconds:g} seconds") from None
    finally:
        if process.poll() is None:
            # It has a process group of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        words = " ".join((errors or printed).decode(errors="replace").split())[-_LAST_WORDS:]
        said = f", and said: {words}" if words else ""
        how = f"with status {process.returncode}" if process.returncode > 0 else f"by signal {-process.returncode}"
        raise ValueError(f"{command[0]} ended {how}{said}")
    return printed.decode(errors="replace")


def check_command(command: Sequence[str]) -> str:
    """Return what a program prints, or nothing if it cannot be run."""
    try:
        return run_command(command, 30.0)
    except ValueError:
        return ""
