from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from torchmetrics_sess import explain
from torchmetrics_sess.images import read_image
from torchmetrics_sess.presets.pool import PooledNetworks

pytestmark = pytest.mark.usefixtures("stub_networks")

Sess = Callable[..., Any]
Folders = tuple[Path, Path]


@pytest.fixture
def pair(image_folders: Folders) -> tuple[Path, Path]:
    """Return two images that differ."""
    return image_folders[0] / "5.png", image_folders[1] / "5.png"


def test_the_table_and_the_picture_show_why(sess: Sess, pair: Folders, tmp_path: Path) -> None:
    run = sess("explain", *pair, "-o", tmp_path / "why.png")
    assert run.exit_code == 0, run.stderr
    explanation = explain(read_image(pair[1]), read_image(pair[0]))
    lines = run.stdout.splitlines()
    assert lines[0] == f"score {explanation.score:.4f}, loss {explanation.loss:.4f}"
    shown = [line.split()[-1] for line in lines if line.strip().startswith(("matched", "unmatched", "whole"))]
    assert shown == [f"{row['contribution']:.4f}" for row in explanation.to_rows()]
    assert lines[-1] == explanation.signature
    assert explanation.in_words() in lines
    with Image.open(tmp_path / "why.png") as image:
        assert image.width == 1500
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["why.png"]


def test_files_are_there_even_if_nobody_reads_what_is_printed(
    sess: Sess, pair: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("torchmetrics_sess.cli.explain._show", broken)
    run = sess("explain", *pair, "-o", tmp_path / "why.png", "--json", tmp_path / "why.json")
    assert run.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["why.json", "why.png"]


def test_no_picture_is_needed(sess: Sess, pair: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert sess("explain", *pair).exit_code == 0


@pytest.mark.parametrize("extension", [".pdf", ".SVG"])
def test_the_extension_chooses_the_format(sess: Sess, pair: Folders, tmp_path: Path, extension: str) -> None:
    out = tmp_path / f"why{extension}"
    assert sess("explain", *pair, "-o", out, "--objects", 1, "--relations", 0).exit_code == 0
    assert out.read_bytes().startswith({".pdf": b"%PDF", ".SVG": b"<?xml"}[extension])


def test_json_holds_every_contribution(sess: Sess, pair: Folders, tmp_path: Path) -> None:
    run = sess("explain", *pair, "--json", tmp_path / "why.json")
    assert run.exit_code == 0
    content = json.loads((tmp_path / "why.json").read_text())
    explanation = explain(read_image(pair[1]), read_image(pair[0]))
    grouping = explanation.objects.grouping
    assert grouping is not None
    assert content == {
        "words": explanation.in_words(),
        "target_pieces": grouping[1].tolist(),
        "preds_pieces": grouping[0].tolist(),
        "signature": explanation.signature,
        "score": explanation.score,
        "loss": explanation.loss,
        "rows": explanation.to_rows(),
    }
    piped = sess("explain", *pair, "--json", "-")
    assert json.loads(piped.stdout) == content
    pieces = json.loads(sess("explain", *pair, "--pieces", "--json", "-").stdout)
    assert pieces["rows"] == explanation.to_rows(pieces=True)
    assert "words" not in pieces


def test_the_rescaled_score_is_explained_if_asked_for(sess: Sess, pair: Folders) -> None:
    arguments = [*pair, "--rescale", "baseline"]
    refused = sess("explain", *arguments)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "needs the score of unrelated images, but none was measured for the preset 'stub'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-o", "missing/why.png"], "there is no folder"),
        (["-o", "origin"], "it is a folder"),
        (["-o", "why.gif"], "a picture ends in one of .png, .pdf, .svg"),
        (["--json", "missing/why.json"], "there is no folder"),
        (["--set", "matching"], "--set takes KEY=VALUE"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    sess: Sess, pair: Folders, arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = sess("explain", *pair, *arguments)
    assert run.exit_code == 2
    assert problem in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert run.stdout == ""


def test_a_broken_image_is_one_line(sess: Sess, pair: Folders, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    run = sess("explain", pair[0], broken)
    assert run.exit_code == 2
    assert run.stderr == f"sess: {broken} cannot be read: it is no image that Pillow knows\n"


def test_a_missing_matplotlib_is_one_line(
    sess: Sess, pair: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "torchmetrics_sess.drawing"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = sess("explain", *pair, "-o", tmp_path / "why.png")
    assert run.exit_code == 2
    assert run.stderr == "sess: drawing needs matplotlib: install torchmetrics-sess[plot]\n"


def test_missing_weights_are_one_line(sess: Sess, pair: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics_sess.weights import MissingWeightError

    def fetch(self: PooledNetworks, device: object) -> None:
        raise MissingWeightError("nothing here")

    monkeypatch.setattr(PooledNetworks, "on", fetch)
    run = sess("explain", *pair)
    assert (run.exit_code, run.stderr) == (2, "sess: nothing here\n")


def test_a_failed_write_keeps_what_was_there(
    sess: Sess, pair: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "why.json"
    out.write_text("before")

    def fail(self: Path, text: str, **settings: object) -> None:
        self.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    run = sess("explain", *pair, "--json", out)
    assert run.exit_code == 2
    assert "No space left on device" in run.stderr
    assert out.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["why.json"]
