"""``sess report``: from scores to a page, whatever is missing on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from human_data import make_ratings, rows_of
from PIL import Image
from stub_extractor import stub_preset

from torchmetrics_sess.report import pictures
from torchmetrics_sess.results import COLUMNS

Sess = Callable[..., Any]
Folders = tuple[Path, Path]
pytestmark = pytest.mark.usefixtures("stub_networks")


@pytest.fixture
def scores(sess: Sess, image_folders: Folders, tmp_path: Path) -> Path:
    """Return the results of scoring seven pairs."""
    for path in tmp_path.glob("*/*.png"):
        with Image.open(path) as image:
            image.resize((24, 16)).save(path)
    path = tmp_path / "results.csv"
    assert sess("score", *image_folders, "--out", path).exit_code == 0
    return path


def test_a_report_shows_and_explains_the_scores(sess: Sess, scores: Path, tmp_path: Path) -> None:
    result = sess("report", scores, "-o", tmp_path / "new" / "report", "--pictures", 1)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'new' / 'report' / 'index.html'}\n")
    assert result.stderr == ""
    page = (tmp_path / "new" / "report" / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<td class="name">\d\.png', page)) == 7
    assert len(re.findall(r'src="data:image/webp;base64,[^"]+" [^>]+ alt="Why \d\.png scores [01]\.\d+', page)) == 2
    assert "rank correlation with SeSS" in page
    assert stub_preset().signature() in page


def test_scores_of_another_signature_are_shown_but_not_explained(sess: Sess, scores: Path, tmp_path: Path) -> None:
    scores.write_text(scores.read_text(encoding="utf-8").replace("SeSS|", "SeSS|other|"), encoding="utf-8")
    result = sess("report", scores, "-o", tmp_path / "report", "--pictures", 1)
    assert result.exit_code == 0
    assert "the scores have another signature" in result.stderr
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "the scores have another signature" in page
    assert len(re.findall('alt="The original', page)) == 2


def test_without_matplotlib_the_images_are_shown(
    sess: Sess, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    result = sess("report", scores, "-o", tmp_path / "report", "--pictures", 1)
    assert result.exit_code == 0
    assert "matplotlib draws them, which the extra `plot` installs" in result.stderr
    assert "The original, " in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_without_images_there_are_scores(sess: Sess, scores: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "recon").iterdir():
        path.unlink()
    result = sess("report", scores, "-o", tmp_path / "report")
    assert result.exit_code == 0
    assert "PSNR and SSIM are missing for 7 pairs, whose images were not found" in result.stderr
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("cannot be read: no such file or directory") == 6
    assert "rank correlation" not in page


def test_pairs_of_different_sizes_have_no_psnr(sess: Sess, scores: Path, tmp_path: Path) -> None:
    with Image.open(tmp_path / "recon" / "3.png") as image:
        image.resize((30, 20)).save(tmp_path / "recon" / "3.png")
    result = sess("report", scores, "-o", tmp_path / "report", "--pictures", 0)
    assert result.exit_code == 0
    assert "missing for 1 pairs, whose images differ in size" in result.stderr
    assert "6 pairs" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_no_pictures_need_no_networks(
    sess: Sess, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "torchmetrics_sess.presets.pool.pooled_networks", lambda *_: pytest.fail("networks were loaded")
    )
    assert sess("report", scores, "-o", tmp_path / "report", "--pictures", 0).exit_code == 0
    assert "<img" not in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_an_unfinished_run_is_reported_as_such(sess: Sess, scores: Path, tmp_path: Path) -> None:
    content = scores.read_bytes()
    scores.write_bytes(content[: -len(content.splitlines()[-1]) // 2])
    result = sess("report", scores, "-o", tmp_path / "report", "--pictures", 0)
    assert result.exit_code == 0
    assert "the run was cut off" in result.stderr
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "the run was cut off" in page
    assert "5.png" in page
    assert "6.png" not in page


def test_what_cannot_be_reported_is_refused(sess: Sess, scores: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text(scores.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine", encoding="utf-8")
    for arguments, message in (
        ((tmp_path / "missing.csv",), "missing.csv cannot be read: no such file or directory"),
        ((scores, "-o", tmp_path / "site"), "is no report of ours"),
        ((scores, "-o", scores), "results.csv is a file"),
        ((empty,), "holds no pair yet"),
        ((scores, "--set", "oops"), "--set takes KEY=VALUE"),
    ):
        result = sess("report", *arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr
    assert (tmp_path / "site" / "index.html").read_text(encoding="utf-8") == "mine"


def test_the_report_has_a_section_of_people(tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path)
    results = tmp_path / "results.csv"
    lines = [",".join([*COLUMNS, "psnr", "ssim"])]
    lines += [",".join(row.texts(["psnr", "ssim"])) for row in rows_of(tmp_path)]
    results.write_text("\n".join(lines) + "\n")
    options = ("-o", tmp_path / "report", "--pictures", 2)
    assert sess("report", results, *options, "--ratings", ratings).exit_code == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "18 pairs of 6 originals were rated by 4 people" in page
    assert "Scores that are higher than people would have them" in page
    assert "SeSS and people: only 6 originals: intervals and tests" in page
    assert page.count('class="fit"') > 20

    ratings.write_text(ratings.read_text().replace("origin/", "elsewhere/"))
    result = sess("report", results, *options, "--ratings", ratings)
    assert result.exit_code == 2
    assert "of 18 rated pairs, 0 are among the results" in result.stderr
    only_choices = make_ratings(tmp_path, kinds=("choose",))
    assert "holds choices alone" in sess("report", results, *options, "--ratings", only_choices).stderr
