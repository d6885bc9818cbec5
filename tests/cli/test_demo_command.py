"""``sess demo``: every photograph against every change, on screen and on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageChops

from torchmetrics_sess.cli.distortions import distortions
from torchmetrics_sess.images import read_image
from torchmetrics_sess.photographs import NAMES, open_photograph
from torchmetrics_sess.report import read_results

Sess = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("stub_networks")


def test_the_table_compares_every_photograph_with_every_change(sess: Sess) -> None:
    result = sess("demo")
    assert result.exit_code == 0
    rows = {}
    for change in distortions():
        [line] = [line for line in result.stdout.splitlines() if re.match(rf" +{change} ", line)]
        rows[change] = line.removeprefix(f"  {change}").split()
    assert rows["untouched"] == [*["1.000"] * 5, "inf"]
    assert len(rows) == 9
    for *scores, mean, _ in rows.values():
        assert len(scores) == len(NAMES)
        assert float(mean) == pytest.approx(sum(map(float, scores)) / 4, abs=1e-3)
    assert float(rows["JPEG 90"][-1]) > float(rows["JPEG 5"][-1]) > float(rows["darker"][-1])
    assert rows["another photograph"][-1] == "-"
    assert result.stdout.splitlines()[-1].startswith("SeSS|preset:stub|")


def test_the_images_can_be_kept_and_scored(sess: Sess, tmp_path: Path) -> None:
    result = sess("demo", "--save", tmp_path / "pairs")
    assert result.exit_code == 0
    assert len(list((tmp_path / "pairs").glob("*/*.png"))) == 9 * 4
    assert f"sess score {tmp_path / 'pairs' / 'untouched'}" in result.stdout
    folders = tmp_path / "pairs" / "untouched", tmp_path / "pairs" / "jpeg-10"
    assert sess("score", *folders, "--out", tmp_path / "results.csv").exit_code == 0
    assert [row.status for row in read_results(tmp_path / "results.csv").rows] == ["ok"] * 4


def test_a_report_comes_with_its_images_and_results(
    sess: Sess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Explanations have tests of their own, and take seconds.
    monkeypatch.setattr("torchmetrics_sess.report.pictures.find_spec", lambda name: None)
    folder = tmp_path / "report"
    result = sess("demo", "--report", folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"Now open: {folder / 'index.html'}"
    rows = read_results(folder / "results.csv").rows
    assert len(rows) == 8 * 4
    assert all(Path(path).is_file() for row in rows for path in (row.pair.origin, row.pair.recon))
    [row] = [row for row in rows if row.pair.recon == str(folder / "images" / "jpeg-10" / "cat.png")]
    assert f"{row.score:.3f}" in next(line for line in result.stdout.splitlines() if "JPEG 10" in line)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2 * 6
    assert "subject-erased" in page


@pytest.mark.parametrize("option", ["--save", "--report"])
def test_a_folder_in_use_is_left_alone(option: str, sess: Sess, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    result = sess("demo", option, tmp_path)
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_erasing_changes_the_subject_alone(name: str) -> None:
    original, erased = open_photograph(name), distortions()["subject erased"](name)
    left, top, right, bottom = ImageChops.difference(original, erased).getbbox() or (0, 0, 0, 0)
    assert 0 < left < right < original.width
    assert 0 < top < bottom < original.height
    assert (right - left) * (bottom - top) > 0.1 * original.width * original.height


def test_photographs_are_small_and_their_origin_is_told() -> None:
    folder = Path(__file__).parents[2] / "torchmetrics_sess" / "photographs"
    files = sorted(folder.glob("*.jpg"))
    assert [path.stem for path in files] == list(NAMES)
    assert sum(path.stat().st_size for path in files) < 400_000
    assert all(max(read_image(path).shape) == 384 for path in files)
    assert all(f"`{path.name}`" in (folder / "README.md").read_text() for path in files)
