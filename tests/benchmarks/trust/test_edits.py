"""What changes to photographs promise to leave alone, and that degrees are degrees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from benchmarks.shared.photographs import Box, Scene
from benchmarks.trust import edits
from benchmarks.trust.experiments import (
    DEVIATIONS,
    KEPT,
    LOSS,
    MILD,
    RADII,
    REARRANGED,
    SHARES,
    changes,
    codecs,
    transformations,
)
from torchmetrics_sess.photographs import NAMES, open_photograph

LEFT, RIGHT = Box(0.5, 0.25, 0.3, 0.15), Box(0.5, 0.75, 0.3, 0.15)
boxes = st.builds(Box, *[st.floats(0.1, 0.9)] * 2, *[st.floats(0.05, 0.4)] * 2)
sizes = st.tuples(st.integers(9, 70), st.integers(9, 70))


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    return open_photograph("coffee")


def noise_image(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def error(image: Image.Image, other: Image.Image) -> float:
    return float(np.square(np.asarray(image, dtype=float) - np.asarray(other)).mean())


def within(size: tuple[int, int], *of: Box) -> NDArray[np.bool_]:
    """Return the pixels of the upright rectangles around boxes, and two more on every side."""
    width, height = size
    row, column = np.mgrid[:height, :width]
    inside = [
        (abs(row / height - box.row) <= box.half_height + 2 / height)
        & (abs(column / width - box.column) <= box.half_width + 2 / width)
        for box in of
    ]
    region: NDArray[np.bool_] = np.any(inside, axis=0)
    return region


@settings(derandomize=True, max_examples=25, deadline=None)
@given(size=sizes, box=boxes)
def test_taking_an_object_away_leaves_the_rest_as_it_was(size: tuple[int, int], box: Box) -> None:
    image = noise_image(size)
    outside = ~within(size, box)
    for changed in (edits.erase(image, box), edits.cut_out(image, box)):
        assert np.array_equal(np.asarray(changed)[outside], np.asarray(image)[outside])


def test_an_erased_object_is_filled_with_the_colours_around_it() -> None:
    plain = Image.new("RGB", (64, 48), (200, 40, 90))
    spotted = plain.copy()
    spotted.paste((0, 255, 0), (28, 20, 37, 29))
    assert error(edits.erase(spotted, Box(0.5, 0.5, 0.2, 0.15)), plain) == 0


def test_a_swapped_object_is_what_the_other_photograph_shows(coffee: Image.Image) -> None:
    red = Image.new("RGB", coffee.size, (255, 0, 0))
    swapped = np.asarray(edits.swap(coffee, LEFT, red, RIGHT))
    middle = round(LEFT.row * coffee.height), round(LEFT.column * coffee.width)
    assert tuple(swapped[middle]) == (255, 0, 0)
    assert np.array_equal(swapped[:, coffee.width // 2 :], np.asarray(coffee)[:, coffee.width // 2 :])


def test_exchanged_objects_of_one_size_return_when_exchanged_again(coffee: Image.Image) -> None:
    once = edits.exchange(coffee, LEFT, RIGHT)
    twice = edits.exchange(once, LEFT, RIGHT)
    # The feathered edges belong to both: well inside them, and outside, nothing is lost.
    inner = [box._replace(half_height=0.2, half_width=0.1) for box in (LEFT, RIGHT)]
    kept = within(coffee.size, *inner) | ~within(coffee.size, LEFT, RIGHT)
    assert np.array_equal(np.asarray(twice)[kept], np.asarray(coffee)[kept])
    assert error(once, coffee) > 100


@settings(derandomize=True, max_examples=25, deadline=None)
@given(size=sizes)
def test_exchanging_parts_of_an_image_twice_gives_it_back(size: tuple[int, int]) -> None:
    image = noise_image(size)
    exchanges = (
        lambda image: edits.exchange_halves(image, "left and right"),
        lambda image: edits.exchange_halves(image, "top and bottom"),
        edits.exchange_quadrants,
        edits.mirror,
    )
    for exchange in exchanges:
        once = exchange(image)
        assert sorted(np.asarray(once).reshape(-1, 3).tolist()) == sorted(np.asarray(image).reshape(-1, 3).tolist())
        assert error(once, image) > 0
        assert error(exchange(once), image) == 0


def test_halves_change_places() -> None:
    image = Image.fromarray(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3))
    pixels = np.asarray(image)
    assert np.array_equal(np.asarray(edits.exchange_halves(image, "left and right"))[:, :3], pixels[:, 4:])
    assert np.array_equal(np.asarray(edits.exchange_halves(image, "left and right"))[:, 3], pixels[:, 3])
    assert np.array_equal(np.asarray(edits.exchange_halves(image, "top and bottom"))[3:], pixels[:2])


@pytest.mark.parametrize("series", ["noise", "blur", "diffusion", "another photograph", *codecs()])
def test_every_degree_is_worse_than_the_one_before(series: str) -> None:
    scenes = {name: Scene(open_photograph(name), ()) for name in NAMES[:2]}
    image = scenes[NAMES[0]].image
    ladder = [change for change in changes(NAMES[0], scenes, quick=True) if change.series == series]
    assert len(ladder) >= 2
    assert all(change.image.size == image.size for change in ladder)
    badness = [change.badness for change in ladder]
    errors = [error(change.image, image) for change in ladder]
    assert badness == sorted(set(badness))
    assert errors == sorted(set(errors))
    if series in codecs():
        bits = [change.at for change in ladder]
        assert bits == sorted(bits, reverse=True)


def test_no_change_at_all_is_the_end_of_every_ladder(coffee: Image.Image) -> None:
    assert error(edits.add_noise(coffee, 0), coffee) == 0
    assert error(edits.diffuse(coffee, 1.0), coffee) == 0
    assert error(edits.blend(coffee, edits.mirror(coffee), 0.0), coffee) == 0
    assert error(edits.blur(coffee, 0), coffee) == 0
    assert error(edits.crop(coffee, 0), coffee) == 0
    assert error(edits.turn_hue(coffee, 0), edits.turn_hue(edits.turn_hue(coffee, 0), 360)) < 1
    assert min(*DEVIATIONS, *RADII, *SHARES, 1 - max(KEPT)) > 0


def test_diffusion_keeps_the_power_of_a_signal_of_unit_power() -> None:
    # Values of -1 and 1 cannot keep their power, as noise beyond them is cut: half as bright ones nearly can.
    image = Image.fromarray(np.where(np.random.default_rng(1).random((200, 200, 3)) < 0.5, 64, 191).astype(np.uint8))
    noisy = np.asarray(edits.diffuse(image, 0.99)) / 127.5 - 1
    assert np.isclose(noisy.var(), 0.99 * 0.25 + 0.01, rtol=0.02)


def test_transformations_depend_on_the_objects_that_are_known() -> None:
    scenes = {
        "none": Scene(noise_image((40, 40), 1), ()),
        "one": Scene(noise_image((40, 30), 2), (LEFT,)),
        "two": Scene(noise_image((30, 40), 3), (LEFT, RIGHT)),
    }
    found = {name: list(transformations(name, scenes)) for name in scenes}
    kinds = {name: [meaning for meaning, _, _ in found[name]] for name in scenes}
    assert all(kinds[name].count(MILD) == 15 for name in scenes)
    assert [kinds[name].count(LOSS) for name in scenes] == [0, 4, 4]
    assert [kinds[name].count(REARRANGED) for name in scenes] == [3, 3, 4]
    for name, each in found.items():
        assert all(changed.size == scenes[name].image.size and changed.mode == "RGB" for _, _, changed in each)
        assert all(error(changed, scenes[name].image) > 0 for _, _, changed in each)
        assert len({what for _, what, _ in each}) == len(each)


def test_what_changes_nothing_is_no_change() -> None:
    scenes = {"grey": Scene(edits.grey(noise_image((24, 32))), ()), "other": Scene(noise_image((32, 24)), ())}
    found = {name: {change.level for change in changes(name, scenes, quick=True)} for name in scenes}
    assert found["other"] - found["grey"] == {"greyscale", "hue 20°"}
    assert found["grey"] < found["other"]


def test_codecs_tell_the_size_of_what_they_wrote(coffee: Image.Image) -> None:
    decoded, bits = edits.encode(coffee, "PNG")
    assert error(decoded, coffee) == 0
    assert 1 < bits < 24
