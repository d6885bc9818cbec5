"""``sess tune``: from answers to a preset that says where it comes from, or to a sentence that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from human_data import make_ratings
from stub_extractor import stub_preset

from torchmetrics_sess.cli.tune import parse_vary
from torchmetrics_sess.judgements.graphs import GraphFolder
from torchmetrics_sess.presets import load_preset, preset_yaml

QUICK = ("--trials", 20, "--folds", 2, "--seed", 1)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command have the stub's networks, and the settings of ``lite`` be written."""
    written: list[Any] = []

    def load(name: str | Path, overrides: object = None) -> Any:
        if isinstance(name, Path):
            return written[-1]
        return stub_preset()

    def text(preset: Any) -> str:
        written.append(preset)
        return preset_yaml(load_preset("lite")) + yaml.safe_dump({"tuned": vars(preset.tuned)})

    monkeypatch.setattr("torchmetrics_sess.presets.load_preset", load)
    monkeypatch.setattr("torchmetrics_sess.presets.preset_yaml", text)


@pytest.mark.usefixtures("stub")
def test_answers_end_in_a_preset_that_says_where_it_comes_from(tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path, kinds=("rate",))
    out = tmp_path / "mine.yaml"
    result = sess("tune", ratings, "-o", out, *QUICK, "--vary", "theta,alpha", "--anyway")
    assert result.exit_code == 0
    assert "72 answers of 4 raters to 18 questions about 6 originals" in result.stdout
    assert "SRCC on originals not tuned on" in result.stdout
    assert "|tuned:72j,4r," in result.stdout
    made = yaml.safe_load(out.read_text())
    assert made["tuned"]["judgements"] == 72
    assert len(made["tuned"]["ratings"]) == 64
    # Graphs are kept: a second run extracts nothing.
    kept = sorted(path.stat().st_mtime_ns for path in (tmp_path / "ratings-graphs").iterdir())
    assert len(kept) == 24
    assert sess("tune", ratings, "-o", out, *QUICK, "--vary", "theta", "--anyway").exit_code == 0
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "ratings-graphs").iterdir()) == kept


@pytest.mark.usefixtures("stub")
def test_a_gain_that_is_not_certain_writes_nothing(tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path, kinds=("choose",))
    # The stub sees colours, which noise hardly changes; and here everybody finds everything equal, but for one.
    lines = ratings.read_text().splitlines()
    ratings.write_text("\n".join([*lines[:2], *(line.rpartition(",")[0] + ",equal" for line in lines[2:])]))
    result = sess("tune", ratings, "-o", tmp_path / "mine.yaml", *QUICK, "--vary", "theta")
    assert result.exit_code == 1
    assert "mine.yaml is not written: no gain is certain" in result.stderr
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ((), {}, "holds ratings and choices: say with --kind"),
        (("--kind", "rate", "--vary", "thta"), {}, "--vary takes no 'thta'"),
        (("--kind", "rate", "--vary", "theta=0.5:0.1"), {}, "the bounds must lie within 0 to 1, the lower first"),
        (("--kind", "rate", "--vary", "balance=0:1"), {}, "must lie within mean or lower"),
        (("--kind", "rate", "--vary", "slack"), {}, "no effect while `matching.assignment` is one_to_one"),
        (("--kind", "rate"), {"originals": 1}, "which takes 4 originals at least; these answers are about 1"),
        (("--kind", "choose"), {"kinds": ("rate",)}, "no answer to a question of the kind 'choose'"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_said(options: Any, change: Any, message: str, tmp_path: Path, sess: Any) -> None:
    ratings = make_ratings(tmp_path, **change)
    result = sess("tune", ratings, "-o", tmp_path / "mine.yaml", *QUICK, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_images_that_are_gone_or_damaged_are_named(tmp_path: Path, sess: Any, stub: None) -> None:
    ratings = make_ratings(tmp_path, kinds=("rate",))
    (tmp_path / "fair" / "2.png").write_bytes(b"damaged")
    result = sess("tune", ratings, "-o", tmp_path / "mine.yaml", *QUICK)
    assert result.exit_code == 2
    assert "2.png cannot be read" in result.stderr
    (tmp_path / "fair" / "2.png").unlink()
    result = sess("tune", ratings, "-o", tmp_path / "mine.yaml", *QUICK)
    assert "of which 1 are not there" in result.stderr
    assert "mine.txt: a preset ends in .yaml" in sess("tune", ratings, "-o", tmp_path / "mine.txt").stderr


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    folder = GraphFolder(tmp_path / "graphs", stub_preset(), torch.device("cpu"))
    image = tmp_path / "a.png"
    image.write_bytes(b"anything")
    assert folder.missing([str(image), str(image)]) == [str(image)]
    with pytest.raises(ValueError, match="is no kept scene graph"):
        folder.load(str(image))
    with pytest.raises(ValueError, match="cannot be read"):
        folder.missing([str(tmp_path / "gone.png")])


def test_short_names_stand_for_settings() -> None:
    ranges = parse_vary(["theta, floor", "cosine_floor=0:0.5"])
    assert ranges is not None
    assert list(ranges) == ["matching.theta", "importance.floor", "matching.cosine_floor"]
    assert ranges["matching.cosine_floor"].high == 0.5
    assert parse_vary(None) is None
