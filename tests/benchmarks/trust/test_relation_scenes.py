"""Scenes in which only a relation changes: what is pasted where."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.trust.relation_scenes import KEPT, RELATIONS, relation_scene

RED, BLUE = (255, 0, 0), (0, 0, 255)


def middles(scene: Image.Image) -> list[tuple[float, float, int]]:
    """Return row, column and area of what is red, and of what is blue."""
    pixels = np.array(scene)
    found = []
    for colour in (RED, BLUE):
        rows, columns = np.nonzero((pixels == colour).all(-1))
        found.append((float(rows.mean()), float(columns.mean()), len(rows)))
    return found


@pytest.mark.parametrize("relation", RELATIONS)
def test_what_keeps_a_relation_and_what_does_not(relation: str) -> None:
    things = [Image.new("RGBA", (60, 60), (*colour, 255)) for colour in (RED, BLUE)]
    scenes = relation_scene(relation, Image.new("RGB", (50, 70)), things[0], things[1], seed=1)
    assert list(scenes)[:4] == ["scene", *KEPT]
    assert set(list(scenes)[4:]) == set(RELATIONS[relation].lost)

    def between(name: str) -> tuple[float, float, float]:
        (row, column, area), (other_row, other_column, other_area) = middles(scenes[name])
        return other_row - row, other_column - column, area / other_area

    down, right, ratio = between("scene")
    assert between("moved together") == pytest.approx((down, right, ratio), abs=2)
    assert between("scaled together") == pytest.approx((0.8 * down, 0.8 * right, ratio), abs=3)
    assert between("mirrored") == pytest.approx((down, -right, ratio), abs=3)


def test_exchanged_objects_are_in_each_others_places() -> None:
    things = [Image.new("RGBA", (60, 60), (*colour, 255)) for colour in (RED, BLUE)]
    scenes = relation_scene("over", Image.new("RGB", (50, 70)), things[0], things[1], seed=1)
    assert middles(scenes["exchanged"]) == middles(scenes["scene"])[::-1]
    front = relation_scene("in front of", Image.new("RGB", (50, 70)), things[0], things[1], seed=1)
    (red, blue), (behind_red, behind_blue) = middles(front["scene"]), middles(front["behind"])
    assert red[2] > blue[2]
    assert behind_red[2] < behind_blue[2]
