"""Results to one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from torchmetrics_sess.__about__ import __version__
from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.curves.curve import AXES
from torchmetrics_sess.report.charts import compare, histograms, scatter
from torchmetrics_sess.report.curves import CurveSection
from torchmetrics_sess.report.pictures import Picture
from torchmetrics_sess.results import Row, summarise

if TYPE_CHECKING:
    from jinja2 import Environment

    from torchmetrics_sess.report.people import People, Rated

# What keeps the page small however many pairs there are.
_ROWS = 5000
_FAILURES = 500
_DOTS = 2000
_TRACES = 60
# More folders than these have no colours, and no histograms, of their own.
_SERIES = 6
_HISTOGRAMS = 12

_GENERATOR = "torchmetrics-sess"


@dataclass(frozen=True)
class Shown:
    """A pair whose pictures the page shows, or the reason why there are none."""

    row: Row
    pictures: list[Picture]
    missing: str = ""


@dataclass(frozen=True)
class Content:
    """What goes into a report.

    Args:
        source: the results file.
        rows: its rows, with further metrics where there are any.
        lowest: pairs of the lowest scores.
        highest: pairs of the highest scores.
        explained: whether the pictures of the pairs are explanations, and not the images alone.
        people: what people said of some of the pairs.
        higher_than_people: pairs of those whose scores lie furthest above what people say.
        lower_than_people: pairs whose scores lie furthest below.
        notes: what the reader has to know.
        curves: what is said of curves, if the folders are points of such.
    """

    source: Path
    rows: Sequence[Row]
    lowest: Sequence[Shown] = ()
    highest: Sequence[Shown] = ()
    explained: bool = False
    people: People | None = None
    higher_than_people: Sequence[tuple[Rated, Shown]] = ()
    lower_than_people: Sequence[tuple[Rated, Shown]] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    curves: CurveSection | None = None


def write_page(content: Content, folder: Path) -> Path:
    """Write ``index.html`` into ``folder``, which is created, all of it or none.

    Raises:
        ValueError: if the folder holds an ``index.html`` that is no report.
        OSError: if it cannot be written.
    """
    path = folder / "index.html"
    check_target(folder)
    page = render(content, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        # A file name need not be valid text.
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def check_target(folder: Path) -> None:
    """Check that a report may be written into ``folder``.

    Raises:
        ValueError: if it is a file, or holds an ``index.html`` that is no report.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the report")
    path = folder / "index.html"
    if path.exists() and f'content="{_GENERATOR}' not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise ValueError(f"{path} exists already and is no report of ours; name another folder")


def render(content: Content, folder: Path) -> str:
    """Return the page, whose links start from ``folder``."""
    environment = _environment()
    script = environment.get_template("script.js").render()
    summaries = summarise(content.rows)
    labels = folder_labels([summary.folder for summary in summaries])
    scored = sorted((row for row in content.rows if row.score is not None), key=lambda row: row.score or 0.0)
    failed = [row for row in content.rows if row.score is None]
    with_scores = [summary for summary in summaries if summary.scores]
    metrics = _metrics(scored)
    by_folder = {labels[summary.folder]: summary.scores for summary in with_scores}
    if len(with_scores) > _HISTOGRAMS:
        by_folder = {"all folders": [row.score or 0.0 for row in scored]}
    plots = {name: [row for row in scored if name in row.metrics] for name in metrics}
    return environment.get_template("index.html").render(
        content=content,
        version=__version__,
        generator=_GENERATOR,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        link=quote(os.path.relpath(content.source, folder).replace(os.sep, "/"), errors="surrogateescape"),
        date=datetime.fromtimestamp(content.source.stat().st_mtime).astimezone(),
        summaries=summaries,
        labels=labels,
        series={summary.folder: i % _SERIES if len(summaries) <= _SERIES else 0 for i, summary in enumerate(summaries)},
        coloured=1 < len(summaries) <= _SERIES,
        scored=scored,
        failed=failed,
        metrics=metrics,
        # Curves say it better.
        comparison=compare(with_scores, scored, traces=_TRACES)
        if len(with_scores) > 1 and not content.curves
        else None,
        histograms=histograms(by_folder) if by_folder else [],
        scatters=[scatter(name, rows, dots=_DOTS) for name, rows in plots.items() if name not in AXES],
        signatures=list(dict.fromkeys(row.signature for row in content.rows if row.signature)),
        rows_shown=_ROWS,
        failures_shown=_FAILURES,
    )


def folder_labels(folders: Sequence[str]) -> dict[str, str]:
    """Return what tells folders apart: their paths without the folder that all of them lie in.

    Examples:
        >>> folder_labels(["out/jpeg/10", "out/jpeg/20", "out/webp/10"])
        {'out/jpeg/10': 'jpeg/10', 'out/jpeg/20': 'jpeg/20', 'out/webp/10': 'webp/10'}
    """
    try:
        shared = os.path.commonpath([Path(folder).parent for folder in folders])
    except ValueError:
        # There is none, or some paths are absolute and others not.
        shared = ""
    return {folder: os.path.relpath(folder, shared) if folder and shared else folder for folder in folders}


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("torchmetrics_sess.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = _score
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class _Metric:
    """A further column: what it is called, and with how many digits its values are shown."""

    title: str
    digits: int

    def text(self, value: float | None) -> str:
        if value is None or not isfinite(value):
            return "-" if value is None else "∞" if value > 0 else "-∞"
        return f"{value:.{self.digits}f}"


def _metrics(rows: Sequence[Row]) -> dict[str, _Metric]:
    from torchmetrics_sess.comparison import METRICS

    largest: dict[str, float] = {}
    for row in rows:
        for name, value in row.metrics.items():
            largest[name] = max(largest.get(name, 0.0), abs(value) if isfinite(value) else 0.0)
    return {
        name: _Metric(METRICS[name].title if name in METRICS else name, 4 if value < 10 else 2)
        for name, value in largest.items()
    }
