"""Names for objects, where the networks of a command can find any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torchmetrics_sess.cli.output import refuse, refusing

if TYPE_CHECKING:
    from torchmetrics_sess.extractor import SceneGraphExtractor
    from torchmetrics_sess.naming import ObjectNamer


def open_namer(extractor: SceneGraphExtractor, vocabulary: Path | None) -> ObjectNamer | None:
    """Return what names the objects of an extractor's graphs, or None if its encoder embeds no text.

    The command ends if a vocabulary is asked for that cannot be read, or that no text tower is there for.
    """
    from torchmetrics_sess.naming import namer_of, read_vocabulary

    with refusing(ValueError):
        names = None if vocabulary is None else read_vocabulary(vocabulary)
    namer = namer_of(extractor, names)
    if namer is None and vocabulary is not None:
        refuse("--vocabulary needs a preset whose encoder embeds text, such as reference or sam-b")
    return namer
