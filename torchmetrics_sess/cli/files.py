"""Files that commands write: complete, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.cli.output import refuse, refusing


def check_writable(path: Path) -> None:
    """End the command if no file can be written at ``path``, before any work is done."""
    if path.is_dir():
        refuse(f"cannot write {path}: it is a folder; name a file")
    if not path.parent.is_dir():
        refuse(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        refuse(f"cannot write {path}: the folder {path.parent} is write-protected")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Name a file to write, of the same extension, which takes the place of ``path`` once all is written.

    The command ends if that fails; what was at ``path`` is then still there.
    """
    with refusing(OSError), replacing(path) as part:
        yield part
