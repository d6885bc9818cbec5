from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from torchmetrics_sess.photographs import open_photograph
from training.damage import KINDS, Damage, Recognition, damage, people


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return open_photograph("cat").resize((160, 120))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_gives_a_photograph_of_the_same_size(kind: Damage, photograph: Image.Image) -> None:
    for seed in range(8):
        damaged, visibility = kind(photograph, np.random.default_rng(seed))
        again, _ = kind(photograph, np.random.default_rng(seed))
        assert (damaged.size, damaged.mode) == (photograph.size, "RGB")
        assert damaged.tobytes() == again.tobytes() != photograph.tobytes()
        assert 0 <= visibility <= 1


def test_people_see_less_with_every_degree() -> None:
    for name, degrees in (("low-pass", (0, 2, 5, 12, 40)), ("noise", (0, 0.1, 0.3, 0.6, 0.9))):
        seen = [people()[name](degree) for degree in degrees]
        assert seen[0] == 1
        assert sorted(seen, reverse=True) == seen
        assert seen[-1] < 0.02
    assert people()["contrast"](0.01) == 0
    assert people()["contrast"](1) == 1


def test_bumps_of_a_table_are_levelled() -> None:
    seen = Recognition([0, 1, 2], [0.8, 0.9, 0.5])
    assert seen(0) == seen(1) == 1
    assert seen(2) == pytest.approx((0.5 - 1 / 16) / (0.9 - 1 / 16))


def test_clean_photographs_are_among_them(photograph: Image.Image) -> None:
    drawn = [damage(photograph, np.random.default_rng(seed), clean=0.5) for seed in range(40)]
    clean = [visibility for image, visibility in drawn if image.tobytes() == photograph.tobytes()]
    assert 10 < len(clean) < 30
    assert set(clean) == {1.0}
