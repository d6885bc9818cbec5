"""Files that appear whole or not at all, however many processes write them and wherever they are cut off."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a file to write, hidden beside ``path`` and of its extension, which takes its place once all is written.

    After an error nothing is left of it, and what was at ``path`` is still there.

    Raises:
        OSError: if the file cannot take its place; what writing it raises comes through as well.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.txt")
        ...     with replacing(path) as part:
        ...         size = part.write_text("whole")
        ...     path.read_text(), len(list(Path(folder).iterdir()))
        ('whole', 1)
    """
    # No other process, on any machine, writes a file of this name.
    part = path.with_name(f".{secrets.token_hex(8)}-{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
