"""Encoders and decoders that are programs: run without a shell, with a time limit, and ended with who runs them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from torchmetrics_sess.atomic import replacing

# What a program says last is what went wrong.
_LAST_WORDS = 200

# A process that is told which programs run, and ends them once nobody is there any more to tell it of more.
_GUARD = """
import os, signal, sys
running = set()
for line in sys.stdin:
    (running.add if line[0] == "+" else running.discard)(int(line[1:]))
for group in running:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


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
        KeyboardInterrupt: if it was ended by Ctrl-C, see ``ending_commands``.
    """
    _running.check()
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
    with process, _running.holding(process):
        try:
            printed, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ValueError(f"{command[0]} did not end within {seconds:g} seconds") from None
        finally:
            _end(process)
    if process.returncode:
        words = " ".join((errors or printed).decode(errors="replace").split())[-_LAST_WORDS:]
        said = f", and said: {words}" if words else ""
        how = f"with status {process.returncode}" if process.returncode > 0 else f"by signal {-process.returncode}"
        raise ValueError(f"{command[0]} ended {how}{said}")
    return printed.decode(errors="replace")


@contextmanager
def ending_commands() -> Iterator[None]:
    """End programs that threads run as soon as Ctrl-C interrupts the main thread, and when this process is killed.

    They have process groups of their own, which a terminal's signals do not reach, and whoever waits for the threads
    would wait for them first.
    """
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        _running.end()
        if callable(before):
            before(number, frame)

    # What a script runs in the background ignores it, and only the main thread can say what is done.
    listens = callable(before) and threading.current_thread() is threading.main_thread()
    with _guard():
        # What was interrupted stays so until the next time: threads may have more to do than anyone waits for.
        _running.ended = False
        if listens:
            signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            if listens:
                signal.signal(signal.SIGINT, before)


class _Running:
    """The programs that threads of this process run."""

    def __init__(self) -> None:
        self.ended = False
        self.guard: subprocess.Popen[bytes] | None = None
        self.processes: set[subprocess.Popen[bytes]] = set()

    @contextmanager
    def holding(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Know of a program while it runs; only if this process is killed before that, the program outlives it."""
        self._tell(f"+{process.pid}")
        self.processes.add(process)
        try:
            # No lock: `end` runs in a signal handler, in the middle of anything. It either sees this one or is seen.
            if self.ended:
                _end(process)
            yield
        finally:
            self.processes.discard(process)
            self._tell(f"-{process.pid}")
            self.check()

    def check(self) -> None:
        """Interrupt a thread whose program was ended, or need not start: it has not failed.

        Raises:
            KeyboardInterrupt: if that is so; the main thread has had its own.
        """
        if self.ended and threading.current_thread() is not threading.main_thread():
            raise KeyboardInterrupt

    def end(self) -> None:
        """End them all, and those that are about to start."""
        self.ended = True
        for process in list(self.processes):
            _end(process)

    def _tell(self, line: str) -> None:
        if self.guard is not None and self.guard.stdin is not None:
            with suppress(OSError, ValueError):
                self.guard.stdin.write(f"{line}\n".encode())


_running = _Running()


@contextmanager
def _guard() -> Iterator[None]:
    """Start the guard; it ends when the pipe to it is closed, as it is when this process ends, in whatever way."""
    command = [sys.executable, "-I", "-S", "-c", _GUARD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True) as _running.guard:  # noqa: S603
        try:
            yield
        finally:
            _running.guard = None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program, with whatever it has started, unless it has ended."""
    # As long as nobody has asked how it ended, its process group is still its own.
    if process.returncode is None:
        # A group of which nobody is left may not be there, or may not be anyone's any more.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def check_command(command: Sequence[str]) -> str:
    """Return what a program prints, or nothing if it cannot be run."""
    try:
        return run_command(command, 30.0)
    except ValueError:
        return ""
