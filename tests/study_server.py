"""A study served by a process of its own, to be spoken to and killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any


class StudyServer:
    """``sess annotate`` in a process of its own.

    Args:
        folder: where it starts, with the study's images in ``origin`` and beside it.
        recons: what was made of them.
        options: of the command.
    """

    def __init__(self, folder: Path, recons: list[str], *options: str) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "torchmetrics_sess.cli", "annotate", "origin", *recons, *options]
        self.address = self.overview = ""
        self.start()

    def start(self, port: int = 0) -> None:
        """Start the server and wait until it answers; a second time, on the port that it had."""
        port = port or int((re.findall(r":(\d+)/", self.address) or ["0"])[0])
        self._process = subprocess.Popen(
            [*self._command, "--port", str(port)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        )
        self.said = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line
            if line.startswith("for raters:"):
                self.address = line.split()[2]
            if line.startswith("overview:"):
                self.overview = line.split()[1]
            if line.startswith("answers:"):
                break
        else:
            raise RuntimeError(self.said)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return the status, and what the server says, read as JSON where it is."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, content, {"content-type": "application/json", **headers})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                text, status, kind = answer.read(), answer.status, answer.headers["content-type"]
        except urllib.error.HTTPError as error:
            with error:
                text, status, kind = error.read(), error.code, error.headers["content-type"]
        return status, json.loads(text) if kind == "application/json" else text

    def __enter__(self) -> StudyServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
