"""The conditions in which people named objects, and the numbers that sum up how a measure agrees with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.trust.conditions import SIDE, grey, load_conditions, mean_amplitude, show, square
from benchmarks.trust.pasted_scenes import KEPT, LOST, pasted_scene
from benchmarks.trust.recognition import numbers, people_from_trials, scale
from torchmetrics_sess.photographs import open_photograph

CONDITIONS = load_conditions()
PEOPLE = np.array([condition.accuracy for condition in CONDITIONS])


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return square(open_photograph("astronaut"))


def test_every_condition_can_be_made(photograph: Image.Image) -> None:
    amplitude = mean_amplitude([photograph, square(open_photograph("cat"))])
    for condition in CONDITIONS:
        shown = show(photograph, condition.kind, condition.name, amplitude)
        assert shown.size == (SIDE, SIDE)
        assert (shown == photograph) == (condition.name == "cr")
    with pytest.raises(ValueError, match="`kind` must be one of"):
        show(photograph, "fog", "1", amplitude)


def test_contrast_noise_and_spectrum_are_what_they_say(photograph: Image.Image) -> None:
    amplitude = np.full((SIDE, SIDE), 50.0)
    pale = grey(show(photograph, "contrast", "c10", amplitude))
    assert 0.45 - 0.003 <= pale.min() <= pale.max() <= 0.55 + 0.003
    noisy = grey(show(photograph, "uniform-noise", "0.1", amplitude)) - grey(
        show(photograph, "uniform-noise", "0.0", amplitude)
    )
    assert np.abs(noisy).max() <= 0.1 + 0.005
    assert noisy.std() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    own = mean_amplitude([photograph])
    same = show(photograph, "power-equalisation", "pow", own)
    assert np.abs(grey(same) - grey(photograph)).max() < 0.01


def test_a_measure_that_says_what_people_say_agrees_with_them() -> None:
    found = numbers(PEOPLE, CONDITIONS)
    assert found["Spearman"] == pytest.approx(1)
    assert found["residual"] == found["distance"] == pytest.approx(0)
    assert found["spread"] == pytest.approx(0)
    assert found["height"] == pytest.approx(0.75)
    doubled = numbers(2 * PEOPLE, CONDITIONS)
    assert doubled["residual"] == pytest.approx(0)
    assert doubled["height"] == pytest.approx(1.5)
    assert numbers(-PEOPLE, CONDITIONS)["Spearman"] == pytest.approx(-1)


def test_another_photograph_is_0_and_identity_1() -> None:
    assert scale(np.array([0.4, 0.7, 1.0]), 0.4) == pytest.approx([0, 0.5, 1])


def test_the_table_of_people_comes_from_their_trials(tmp_path: Path) -> None:
    (tmp_path / "contrast").mkdir()
    for person, answers in {"01": "cat dog", "02": "cat cat"}.items():
        rows = [f"c30,cat,{answer}" for answer in answers.split()]
        text = "\n".join(["condition,category,object_response", *rows])
        (tmp_path / "contrast" / f"contrast_subject-{person}_session_1.csv").write_text(text)
    header, row = people_from_trials(tmp_path)
    assert header == ("kind", "condition", "accuracy", "sd_over_people", "trials", "people")
    assert row == ("contrast", "c30", "0.7500", "0.3536", 4, 2)
    with pytest.raises(ValueError, match="`folder` must hold a folder per kind"):
        people_from_trials(tmp_path / "contrast")


def test_scenes_differ_in_one_thing() -> None:
    things = [Image.new("RGBA", (30, 30), colour) for colour in ("red", "lime", "blue")]
    scenes = pasted_scene(Image.new("RGB", (50, 50), "white"), things, seed=1)
    assert set(scenes) == {"scene", KEPT, *LOST}

    def count(name: str) -> list[int]:
        pixels = np.asarray(scenes[name]).reshape(-1, 3)
        return [int((pixels == colour).all(1).sum()) for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255])]

    both = count("scene")
    assert both[0] == both[1] == 128**2
    assert both[2] == 0
    assert count(KEPT) == count("exchanged") == count("stacked") == both
    assert count("one replaced") == [0, both[1], both[0]]
    assert count("one removed") == [0, both[1], 0]
    assert count("both removed") == [0, 0, 0]
