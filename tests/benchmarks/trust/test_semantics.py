"""The summaries against made-up measures that know everything or nothing, and what a folder of images becomes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.shared.photographs import CENTRE, Box, Scene, load_scenes
from benchmarks.trust import semantics, semantics_figures
from benchmarks.trust.experiments import EXPERIMENTS, LOSS, MILD, REARRANGED, Change, Scored
from benchmarks.trust.semantics import METRICS

PIXEL = Image.new("RGB", (1, 1))
PHOTOGRAPHS = ("a", "b", "c")
WRONG = "PSNR"


def made_up() -> list[Scored]:
    """Return changes that all measures but one rank as they should, and that one the other way round."""
    ladder = [Change("compression", "JPEG", str(90 - k), k, 2.0 / (k + 1), PIXEL) for k in range(4)]
    ladder += [Change("channel", "analog", f"{k} dB", -k, k, PIXEL) for k in range(4)]
    series = {"noise": 1.0, "blur": 1.0, "diffusion": -1.0, "another photograph": 1.0}
    ladder += [
        Change("generated content", kind, str(k), sign * k, k, PIXEL) for kind, sign in series.items() for k in range(3)
    ]
    kinds = {MILD: ("flip", "grey"), LOSS: ("erased", "swapped"), REARRANGED: ("exchanged",)}
    ladder += [
        Change("transformations", kind, level, 0, 0, PIXEL) for kind, levels in kinds.items() for level in levels
    ]
    scored = []
    for place, name in enumerate(PHOTOGRAPHS):
        for index, change in enumerate(ladder):
            good = 0.5 - change.badness / 100
            if change.experiment == "transformations":
                good = {MILD: 0.9, LOSS: 0.5, REARRANGED: 0.7}[change.series] + (index % 2) / 100
            # A photograph may be harder than another: only within one do the changes compare.
            good -= place / 2 * (change.experiment == "transformations")
            scored.append(Scored(name, change, {metric: -good if metric == WRONG else good for metric in METRICS}))
    return scored


def test_the_summary_tells_right_from_wrong() -> None:
    others = [dict.fromkeys(METRICS, -2.0)]
    rows = {row["number"]: row for row in semantics.summarise(made_up(), others)}
    assert len(rows) == 2 * 6 + 1 + 2 * 2
    for number, row in rows.items():
        right, wrong = row["SeSS"], row[WRONG]
        if number.startswith("Spearman"):
            assert (right, wrong) == (pytest.approx(1), pytest.approx(-1)), number
        elif number.startswith("ordering"):
            assert (right, wrong) == (1, 0), number
        elif number.startswith("AUC"):
            assert (right, wrong) == (1, 1), number
        else:
            assert right == pytest.approx(-wrong), number
    # The scores that keep the meaning lie 0.01 apart, or 0.005 from their mean.
    assert rows["margin, meaning kept above exchanged"]["SeSS"] == pytest.approx(0.2 / 0.005, rel=0.05)


def test_means_are_taken_over_photographs() -> None:
    rows = semantics.means(made_up())
    [flip] = [row for row in rows if row["level"] == "flip"]
    values = [each.scores["SeSS"] for each in made_up() if each.change.level == "flip"]
    assert flip["SeSS"] == pytest.approx(np.mean(values))
    assert flip["photographs"] == len(PHOTOGRAPHS)
    assert {row["experiment"] for row in rows} == set(EXPERIMENTS)
    assert all(("bits per pixel" in row) == (row["experiment"] == "compression") for row in rows)


def test_changes_that_only_some_photographs_have_are_compared_there_only() -> None:
    scored = [each for each in made_up() if each.photograph == "b" or each.change.series != LOSS]
    kept = [each for each in scored if each.change.series == MILD]
    lost = [each for each in scored if each.change.series == LOSS]
    [(first, second)] = semantics.by_photograph_both(kept, lost, "SeSS")
    assert (len(first), len(second)) == (2, 2)
    assert min(first) > max(second)
    assert math.isnan(semantics.margin([]))


def test_halves_share_no_photograph_and_leave_none_out() -> None:
    scenes = {name: Scene(PIXEL, ()) for name in "dbeac"}
    tune, report = semantics.half(scenes, "tune"), semantics.half(scenes, "report")
    assert (list(tune), list(report)) == (["a", "c", "e"], ["b", "d"])
    assert list(semantics.half(scenes, None)) == ["a", "b", "c", "d", "e"]


def test_small_images_are_left_out_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    scenes = {"small": Scene(Image.new("RGB", (400, 175)), ()), "large": Scene(Image.new("RGB", (176, 176)), ())}
    assert list(semantics.leave_out_small(scenes)) == ["large"]
    assert "small" in capsys.readouterr().out


def test_a_folder_is_read_with_its_objects(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    Image.new("RGB", (1024, 300), (9, 8, 7)).save(tmp_path / "wide.png")
    Image.new("L", (30, 40), 5).save(tmp_path / "more" / "grey.png")
    scenes = load_scenes(tmp_path)
    assert {name: scene.image.size for name, scene in scenes.items()} == {"more/grey": (30, 40), "wide": (512, 150)}
    assert all(scene.objects == (CENTRE,) and scene.image.mode == "RGB" for scene in scenes.values())

    (tmp_path / "objects.json").write_text(json.dumps({"wide": [[0.5, 0.4, 0.2, 0.1], [0.5, 0.8, 0.2, 0.1]]}))
    scenes = load_scenes(tmp_path)
    assert scenes["wide"].objects == (Box(0.5, 0.4, 0.2, 0.1), Box(0.5, 0.8, 0.2, 0.1))
    assert scenes["more/grey"].objects == ()


def test_every_experiment_gets_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantics_figures, "FIGURES", tmp_path / "figures")
    paths = semantics_figures.draw("made_up", made_up())
    assert [path.name.partition("-")[2] for path in paths] == [f"{name.replace(' ', '-')}.png" for name in EXPERIMENTS]
    for path in paths:
        with Image.open(path) as figure:
            assert np.unique(np.asarray(figure.convert("L"))).size > 50
