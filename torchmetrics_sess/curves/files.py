"""Curves in files: what ``sess curve`` writes, and the results of CompressAI."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.curves.curve import AXES, Curve, metrics_of, title_of
from torchmetrics_sess.curves.delta import Delta
from torchmetrics_sess.results import Row, read_results

# What CompressAI has called a metric over the years, the present name first; its times and memory are no metrics.
_COMPRESSAI = {
    "psnr": ("psnr-rgb", "psnr"),
    "ms_ssim": ("ms-ssim-rgb", "ms-ssim", "msssim", "ms_ssim"),
    "sess": ("sess",),
    "lpips": ("lpips",),
    "dists": ("dists",),
}


def read_curves(path: str | Path) -> list[Curve]:
    """Read the curves of a results file.

    Args:
        path: a ``.csv`` that ``sess curve`` wrote, with every image, or a ``.json`` of CompressAI's ``bench`` or
            ``eval_model`` (or ``sess curve``), which has means alone.

    Raises:
        ValueError: if it is neither; the message names file and cause.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return read_compressai(path)
    rows = read_results(path).rows
    found = [axis for axis in AXES if any(axis in row.metrics for row in rows)]
    if not found:
        raise ValueError(f"{path} holds no curve: it has no column {' or '.join(AXES)}")
    return curves_of(rows, found[0])[0]


def curves_of(rows: Iterable[Row], axis: str) -> tuple[list[Curve], list[str]]:
    """Return the curves that rows of a results file are the points of, and what was left out of them.

    The folder that a row's ``recon_folder`` names is the point, and the one that it lies in is the codec. Means are to
    be comparable: an image that has no score, or no value of ``axis``, at one point is left out of all, and a metric
    that has no value for one of the images is left out of its curve.

    Args:
        rows: with ``axis`` among their metrics.
        axis: what the curves run over.

    Returns:
        The curves, in the order of the rows, and a sentence for everything that was left out.
    """
    codecs: dict[str, dict[str, dict[str, Row]]] = {}
    lost: dict[str, str] = {}
    names: dict[str, None] = {}
    for row in rows:
        folder = Path(row.pair.recon_folder)
        images = codecs.setdefault(folder.parent.name, {}).setdefault(folder.name, {})
        if not row.pair.origin:
            # What has no original takes no image away.
            continue
        names[row.pair.name] = None
        if row.score is None or axis not in row.metrics:
            reason = row.status if row.score is None else f"no {axis}"
            point = f"{folder.parent.name} {folder.name}"
            # What a codec says begins with its name and its point.
            lost.setdefault(row.pair.name, reason if reason.startswith(f"{point} ") else f"{point}: {reason}")
        else:
            images[row.pair.name] = row
    for codec, points in codecs.items():
        for point, images in points.items():
            for name in names.keys() - images.keys():
                lost.setdefault(name, f"{codec} {point}: there is none")
    kept = [name for name in names if name not in lost]
    notes = [f"{name} is left out of all means ({lost[name]})" for name in names if name in lost]
    if not kept:
        return [], [*notes, "no image is left that has a score at every point"]
    curves = []
    left_out: dict[tuple[str, str], list[str]] = {}
    for codec, points in codecs.items():
        table = [[images[name] for name in kept] for images in points.values()]
        known = dict.fromkeys(metric for line in table for row in line for metric in row.metrics if metric not in AXES)
        metrics = {"sess": _matrix([[row.score or 0.0 for row in line] for line in table])}
        for metric in known:
            lacking = [row for line in table for row in line if isnan(row.metrics.get(metric, nan))]
            if lacking:
                left_out.setdefault((title_of(metric), _lack(lacking, metric)), []).append(codec)
            else:
                metrics[metric] = _matrix([[row.metrics[metric] for row in line] for line in table])
        x = _matrix([[row.metrics[axis] for row in line] for line in table])
        curves.append(Curve(codec, axis, list(points), x, metrics, kept))
    for (title, why), whose in left_out.items():
        notes.append(f"{title} of {', '.join(whose)} is left out: {why}")
    return curves, notes


def read_compressai(path: Path) -> list[Curve]:
    """Read a results file of CompressAI: an object with ``name`` and ``results``, or a list of such.

    Raises:
        ValueError: if it is none; the message names file and cause.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    return [_compressai_curve(entry, path) for entry in (found if isinstance(found, list) else [found])]


def write_compressai(curve: Curve, path: str | Path) -> None:
    """Write the means of a curve over bits per pixel as CompressAI's ``bench`` does, with ``sess`` beside.

    Raises:
        ValueError: if the curve runs over something else.
        OSError: if the file cannot be written.
    """
    if curve.axis != "bpp":
        raise ValueError(f"CompressAI's files are of bits per pixel, but {curve.name} runs over {curve.axis}")
    results = {"bpp": curve.rates.tolist()}
    for name in curve.metrics:
        # JSON has no infinity.
        values = [value if isfinite(value) else None for value in curve.means(name).tolist()]
        results[_COMPRESSAI.get(name, (name,))[0]] = values
    content = {"name": curve.name, "description": "mean over images, by sess curve", "results": results}
    with replacing(Path(path)) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_points(curves: Sequence[Curve], path: Path) -> None:
    """Write a line of CSV for every point: its means, and the 95 % interval of SeSS.

    Raises:
        OSError: if the file cannot be written.
    """
    metrics = metrics_of(curves)
    header = ["codec", "point", "images", curves[0].axis, *metrics]
    if "sess" in metrics:
        header[header.index("sess") + 1 : header.index("sess") + 1] = ["sess_low", "sess_high"]
    lines: list[dict[str, Any]] = []
    for curve in curves:
        ends = curve.interval("sess") if curve.has("sess") else None
        for index, point in enumerate(curve.points):
            line = {
                "codec": curve.name,
                "point": point,
                "images": len(curve.images) or "",
                curve.axis: curve.rates[index],
            }
            line |= {metric: curve.means(metric)[index] for metric in metrics if curve.has(metric)}
            line |= {"sess_low": ends[index][0], "sess_high": ends[index][1]} if ends else {}
            lines.append(line)
    _write_csv(path, header, lines)


def write_deltas(found: Sequence[Delta], path: Path) -> None:
    """Write a line of CSV for every delta.

    Raises:
        OSError: if the file cannot be written.
    """
    header = ["anchor", "codec", "metric", "kind", "value", "low", "high", "overlap", "note"]
    lines = []
    for each in found:
        low, high = each.interval or (None, None)
        line = {"anchor": each.anchor, "codec": each.test, "metric": each.metric, "kind": each.kind, "note": each.note}
        lines.append(line | {"value": each.value, "low": low, "high": high, "overlap": each.overlap})
    _write_csv(path, header, lines)


def _write_csv(path: Path, header: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for line in lines:
            writer.writerow([_text(line.get(name)) for name in header])


def _text(value: Any) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def _lack(rows: Sequence[Row], metric: str) -> str:
    """Say which images have no value of a metric, and why, if that can be told."""
    from torchmetrics_sess.comparison import METRICS

    first, *others = dict.fromkeys(row.pair.name for row in rows)
    who = f"{first} has no value" if not others else f"{first} and {len(others)} more have no value"
    smallest = METRICS[metric].smallest if metric in METRICS else 1
    try:
        with Image.open(rows[0].pair.origin) as image:
            width, height = image.size
    except (OSError, ValueError):
        return who
    if min(width, height) >= smallest:
        return who
    return f"{who}; {first} has {width} x {height} pixels, and it takes {smallest} x {smallest}"


def _matrix(values: Sequence[Sequence[float]]) -> Any:
    return np.array(values, dtype=np.float64)


def _compressai_curve(entry: Any, path: Path) -> Curve:
    results = entry.get("results") if isinstance(entry, dict) else None
    if not isinstance(results, dict) or not isinstance(results.get("bpp"), list) or not results["bpp"]:
        raise ValueError(f"{path} is no results file of CompressAI: it has no list `bpp` among `results`")
    metrics = {}
    for name, spellings in _COMPRESSAI.items():
        values = next((results[spelling] for spelling in spellings if spelling in results), None)
        if values is None:
            continue
        if not isinstance(values, list) or len(values) != len(results["bpp"]):
            raise ValueError(f"{path}: {spellings[0]} must be a list of as many numbers as `bpp`")
        metrics[name] = [_number(value, path) for value in values]
    rates = [_number(value, path) for value in results["bpp"]]
    try:
        curve = Curve.of_means(str(entry.get("name") or path.stem), "bpp", rates, metrics)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not metrics:
        known = ", ".join(spellings[0] for spellings in _COMPRESSAI.values())
        raise ValueError(f"{path} holds no metric that is known here: {known}")
    return curve


def _number(value: Any, path: Path) -> float:
    if value is None:
        return float("inf")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or isnan(value):
        raise ValueError(f"{path} holds {value!r} where a number belongs")
    return float(value)
