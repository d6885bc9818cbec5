"""What ``sess curve`` prints of curves, and the folder that it leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_sess.cli.output import refusing, results

if TYPE_CHECKING:
    import torch

    from torchmetrics_sess.curves import Curve, Delta
    from torchmetrics_sess.curves.delta import Kind
    from torchmetrics_sess.curves.pictures import Comparison
    from torchmetrics_sess.results import Row
    from torchmetrics_sess.scoring import Scorer


@dataclass(frozen=True)
class Findings:
    """What is found out about curves.

    Args:
        curves: all of them.
        deltas: how far every other one lies from the anchor.
        sentences: where metrics disagree on which of two is better.
    """

    curves: Sequence[Curve]
    deltas: Sequence[Delta]
    sentences: Sequence[str]


def check_installed() -> None:
    """Check that what draws and compares is installed.

    Raises:
        ModuleNotFoundError: if it is not; the message says what to install.
    """
    for name in ("matplotlib", "bjontegaard"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"sess curve needs {name}: install torchmetrics-sess[curves]", name=name)


def check_names(names: Sequence[str], anchor: str | None) -> None:
    """Check that codecs can be told apart, and that the anchor is one of them.

    Raises:
        ValueError: if that is not so.
    """
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two codecs are called {name}: give one of them another name")
    if anchor is not None and anchor not in names:
        raise ValueError(f"--anchor {anchor} is none of the codecs: {', '.join(names)}")


def find_out(curves: Sequence[Curve], anchor: str | None) -> Findings:
    """Compare curves with the one called ``anchor``, by default the first one, and metrics with each other."""
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.curves import delta, disagreements
    from torchmetrics_sess.curves.curve import metrics_of

    chosen = next((curve for curve in curves if curve.name == anchor), curves[0])
    others = [curve for curve in curves if curve is not chosen]
    metrics = metrics_of(curves)
    kinds: tuple[Kind, ...] = ("rate", "quality")
    asked = [(other, metric, kind) for other in others for metric in metrics for kind in kinds]
    found = [delta(chosen, other, metric, kind) for other, metric, kind in track(asked, len(asked), "BD-rates")]
    return Findings(curves, found, disagreements(curves, metrics))


def show(findings: Findings) -> None:
    """Print the points, the deltas, and where metrics disagree."""
    console = results()
    console.print(_points_table(findings.curves))
    if findings.deltas:
        console.print(_deltas_table(findings.curves, findings.deltas))
        axis = findings.curves[0].axis
        console.print(f"against {findings.deltas[0].anchor}; {_explained(axis)}", soft_wrap=True)
        for sentence in _notes(findings.deltas):
            console.print(f"  {sentence}", soft_wrap=True)
    for sentence in findings.sentences:
        console.print(f"\n{sentence}", soft_wrap=True)
    if not findings.deltas:
        for curve in findings.curves:
            if len(curve.points) < 2:
                console.print(f"{curve.name} has a single point: a curve takes two", soft_wrap=True)
    if _can_disagree(findings.deltas) and not findings.sentences:
        console.print("\nNo two metrics contradict each other on which codec is better.", soft_wrap=True)


def write(findings: Findings, folder: Path) -> None:
    """Write tables, figures and CompressAI's format into a folder; end the command if that cannot be."""
    from torchmetrics_sess.curves import plot_curves, write_compressai
    from torchmetrics_sess.curves.files import write_deltas, write_points
    from torchmetrics_sess.drawing.figures import FORMATS, lay_out, save_figure

    with refusing(OSError):
        figures = folder / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        write_points(findings.curves, folder / "points.csv")
        write_deltas(findings.deltas, folder / "deltas.csv")
        for use in ("paper", "slides"):
            for dark in (False, True):
                figure = plot_curves(findings.curves, use=use, dark=dark)
                lay_out(figure)
                for extension in FORMATS:
                    save_figure(figure, figures / f"{use}{'-dark' if dark else ''}{extension}")
        for curve in findings.curves:
            if curve.has_images and curve.axis == "bpp":
                (folder / "compressai").mkdir(exist_ok=True)
                write_compressai(curve, folder / "compressai" / f"{curve.name}.json")


def show_pictures(
    rows: Sequence[Row],
    findings: Findings,
    folder: Path,
    *,
    rate: float | None,
    count: int,
    scorer: Scorer,
    device: torch.device,
) -> list[Comparison]:
    """Draw what some images look like at equal rate, codec by codec, and return what is drawn."""
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.curves.pictures import choose, compare, plot_comparison
    from torchmetrics_sess.drawing.figures import save_figure

    curves = [curve for curve in findings.curves if curve.has_images]
    chosen = choose(curves, rate, count)
    made = []
    with refusing(ValueError, OSError):
        for name, looks in track(chosen.items(), len(chosen), "pictures"):
            made.append(compare(name, looks, rows, scorer, device))
        for index, comparison in enumerate(made):
            for dark in (False, True):
                path = folder / "figures" / f"pictures-{index + 1}{'-dark' if dark else ''}.png"
                save_figure(plot_comparison(comparison, dark=dark), path)
    return made


def write_report(
    rows: Sequence[Row], findings: Findings, comparisons: Sequence[Comparison], source: Path, notes: Sequence[str]
) -> Path:
    """Write the page about all of it beside ``source``, the results or else the points, and return its path."""
    from torchmetrics_sess.report.curves import curve_section
    from torchmetrics_sess.report.page import Content, write_page

    section = curve_section(findings.curves, findings.deltas, findings.sentences, comparisons)
    with refusing(OSError, ValueError):
        return write_page(Content(source, rows, notes=notes, curves=section), source.parent)


def _points_table(curves: Sequence[Curve]) -> Any:
    from torchmetrics_sess.curves.curve import AXES, metrics_of, title_of

    # What is left out for the sake of narrow terminals is in points.csv.
    metrics = [metric for metric in metrics_of(curves) if metric != "ms_ssim_db"]
    header = ["", "point", AXES[curves[0].axis].name]
    for metric in metrics:
        header += [title_of(metric), *(["95 % interval"] if metric == "sess" else [])]
    lines = []
    for curve in curves:
        ends = curve.interval("sess") if curve.has("sess") else None
        for index, point in enumerate(curve.points):
            line = [curve.name if index == 0 else "", point, f"{curve.rates[index]:.3g}"]
            for metric in metrics:
                line.append(_number(float(curve.means(metric)[index]), metric) if curve.has(metric) else "-")
                if metric == "sess":
                    line.append(f"{ends[index][0]:.4f} - {ends[index][1]:.4f}" if ends else "-")
            lines.append(line)
    return _table(header, lines, left=2)


def _deltas_table(curves: Sequence[Curve], deltas: Sequence[Delta]) -> Any:
    from torchmetrics_sess.curves.curve import digits_of

    unit = "%" if curves[0].axis != "snr" else "dB"
    lines = []
    seen = ""
    for low, high in zip(deltas[::2], deltas[1::2], strict=True):
        first = low.test if low.test != seen else ""
        seen = low.test
        digits = digits_of(low.metric)
        amounts = [_amount(low, 1), _ends(low, 1), _share(low), _amount(high, digits), _ends(high, digits)]
        lines.append([first, _titled(low), *amounts])
    rate = "BD-rate" if curves[0].axis != "snr" else "BD-SNR"
    # In two lines, so that it fits into 80 columns.
    header = ["", "metric", f"{rate}\n({unit})", "95 %\ninterval", "range", "BD-\nquality", "95 %\ninterval"]
    return _table(header, lines, left=2)


def _notes(deltas: Sequence[Delta]) -> list[str]:
    """Return what is to be known of deltas, each sentence once."""
    from torchmetrics_sess.curves.curve import DECIBELS

    asked = [each for each in deltas if each.metric not in DECIBELS]
    found: dict[str, dict[str, dict[str, None]]] = {}
    for each in asked:
        if each.note:
            found.setdefault(each.note, {}).setdefault(each.test, {})[_titled(each)] = None
    # A sentence without a value names the curve at fault itself, and one about all of them needs no name.
    named = {each.note for each in asked if each.value is None or {other.note for other in asked} == {each.note}}
    return [
        note
        if note in named
        else f"{', '.join(f'{test} by {_listed(titles)}' for test, titles in whose.items())}: {note}"
        for note, whose in found.items()
    ]


def _can_disagree(deltas: Sequence[Delta]) -> bool:
    """Say whether some codec is compared by more than one metric."""
    from torchmetrics_sess.curves.curve import DECIBELS

    compared = [
        each.test for each in deltas if each.kind == "rate" and each.value is not None and each.metric not in DECIBELS
    ]
    return len(compared) > len(set(compared))


def _explained(axis: str) -> str:
    from torchmetrics_sess.curves.curve import AXES

    more = AXES[axis].more
    return (
        f"BD-rate below 0: it needs fewer {more} for equal quality; BD-quality: how much higher the metric is at equal "
        f"{AXES[axis].name}; range: how much of the quality that the two cover is covered by both. By bjontegaard, "
        "Akima's interpolation; intervals by bootstrap over images"
    ).replace("BD-rate below 0: it needs fewer SNR", "BD-SNR below 0: it needs less SNR")


def _listed(titles: Iterable[str]) -> str:
    *others, last = titles
    return f"{', '.join(others)} and {last}" if others else last


def _titled(each: Delta) -> str:
    from torchmetrics_sess.curves.curve import title_of

    return title_of(each.metric)


def _amount(each: Delta, digits: int) -> str:
    return "-" if each.value is None else f"{each.value:+.{digits}f}"


def _ends(each: Delta, digits: int) -> str:
    return "" if each.interval is None else f"{each.interval[0]:+.{digits}f}, {each.interval[1]:+.{digits}f}"


def _share(each: Delta) -> str:
    return "-" if each.value is None else f"{each.overlap:.0%}"


def _number(value: float, metric: str) -> str:
    from torchmetrics_sess.curves.curve import digits_of

    return f"{value:.{digits_of(metric)}f}" if isfinite(value) else "inf"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    # Means alone have no intervals.
    bare = [index for index, title in enumerate(header) if "interval" in title and _is_bare(rows, index)]
    kept = [index for index in range(len(header)) if index not in bare]
    for index in kept:
        # Names of folders are text, whatever markup they look like.
        table.add_column(Text(header[index]), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[index]) for index in kept))
    return table


def _is_bare(rows: Sequence[Sequence[str]], column: int) -> bool:
    return all(row[column] in ("", "-") for row in rows)
