"""Curves in files: read back as they were written, and comparable: over the same images, of metrics that all have."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path

import pytest
from PIL import Image

from torchmetrics_sess.curves import Curve, read_curves, write_compressai
from torchmetrics_sess.curves.files import curves_of
from torchmetrics_sess.images import FilePair
from torchmetrics_sess.results import Row


def row(codec: str, point: str, name: str, score: float | None = 0.5, status: str = "ok", **metrics: float) -> Row:
    folder = f"out/{codec}/{point}"
    return Row(FilePair(name, f"o/{name}", f"{folder}/{name}", folder), score, status, metrics)


def test_an_image_without_a_score_at_one_point_is_left_out_of_all() -> None:
    rows = [row(codec, point, name, bpp=1.0) for name in "ab" for codec in ("x", "y") for point in "12"]
    rows[3] = row("y", "2", "a", None, "broken")
    curves, notes = curves_of(rows, "bpp")
    assert [tuple(curve.images) for curve in curves] == [("b",), ("b",)]
    assert notes == ["a is left out of all means (y 2: broken)"]
    curves, notes = curves_of(rows[:4], "bpp")
    assert curves == []
    assert notes[-1] == "no image is left that has a score at every point"


@pytest.mark.parametrize("lost", [{"bpp": 1.0}, {"bpp": 1.0, "ms_ssim": nan}])
def test_a_metric_that_some_image_has_no_value_of_is_left_out(lost: dict[str, float]) -> None:
    rows = [
        row("x", "1", "a", bpp=1.0, ms_ssim=0.5),
        row("x", "1", "b", 0.5, "ok", **lost),
        row("x", "2", "a", bpp=2.0, ms_ssim=0.6),
    ]
    curves, notes = curves_of([*rows, row("x", "2", "b", bpp=2.0, ms_ssim=0.7)], "bpp")
    assert list(curves[0].metrics) == ["sess"]
    assert notes == ["MS-SSIM of x is left out: b has no value"]


def test_what_is_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    Image.new("RGB", (200, 170)).save(tmp_path / "1 {x}.png")
    rows = []
    for name, value in (("0.png", 0.9), ("1 {x}.png", nan), ("2.png", nan)):
        for codec in ("a", "b"):
            pair = FilePair(name, str(tmp_path / name), f"out/{codec}/5/{name}", f"out/{codec}/5")
            rows.append(Row(pair, 0.5, "ok", {"bpp": 1.0, "ms_ssim": value}))
    left_out = "MS-SSIM of a, b is left out: 1 {x}.png and 1 more have no value"
    assert curves_of(rows, "bpp")[1] == [f"{left_out}; 1 {{x}}.png has 200 x 170 pixels, and it takes 176 x 176"]
    (tmp_path / "1 {x}.png").unlink()
    assert curves_of(rows, "bpp")[1] == [left_out]


def test_the_format_of_compressai_is_read_back(tmp_path: Path) -> None:
    curve = Curve.of_means(
        "mine", "bpp", [0.5, 1.0], {"sess": [0.9, 0.95], "psnr": [30.0, 33.0], "ms_ssim": [0.9, 0.97]}
    )
    write_compressai(curve, tmp_path / "mine.json")
    [found] = read_curves(tmp_path / "mine.json")
    assert (found.name, found.rates.tolist()) == ("mine", [0.5, 1.0])
    for metric in curve.metrics:
        assert found.means(metric).tolist() == curve.means(metric).tolist()
    with pytest.raises(ValueError, match="runs over snr"):
        write_compressai(Curve.of_means("mine", "snr", [1.0], {}), tmp_path / "snr.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"results": {}}, "it has no list `bpp` among `results`"),
        ({"results": {"bpp": [1.0], "psnr": [1.0, 2.0]}}, "a list of as many numbers as `bpp`"),
        ({"results": {"bpp": ["low"]}}, "holds 'low' where a number belongs"),
        ({"results": {"bpp": [0.0]}}, "every bpp must be positive"),
    ],
)
def test_what_is_no_result_of_compressai_is_refused(content: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        read_curves(tmp_path / "a.json")
    assert "a.json" in str(error.value)
