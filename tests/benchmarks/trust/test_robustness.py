"""Hard distortions, objects that people drew, and how the benchmark counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from benchmarks.trust.hard_distortions import DrawnScene, cut_out, erase, hard_distortions, load_drawn, move, swap
from benchmarks.trust.measures import MEASURES
from benchmarks.trust.robustness import ERASED, LOST, OTHERS, deep_jscc, summarise
from examples.deep_jscc.module import DeepJSCC
from torchmetrics_sess.images import image_tensor
from torchmetrics_sess.photographs import open_photograph


def scene(colour: tuple[int, int, int] = (200, 20, 20)) -> DrawnScene:
    image = Image.linear_gradient("L").resize((160, 120)).convert("RGB")
    ImageDraw.Draw(image).ellipse((30, 40, 70, 80), fill=colour)
    drawn = Image.new("L", image.size)
    ImageDraw.Draw(drawn).ellipse((30, 40, 70, 80), fill=255)
    return DrawnScene(image, np.asarray(drawn) > 127)


def red(image: Image.Image) -> int:
    pixels = np.asarray(image).astype(int)
    return int((pixels[..., 0] - pixels[..., 1] > 100).sum())


@pytest.mark.parametrize("title", hard_distortions())
def test_a_distortion_keeps_the_size_and_depends_on_its_seed_alone(title: str) -> None:
    photograph = open_photograph("cat")
    distort = hard_distortions()[title]
    distorted = distort(photograph, 3)
    assert distorted.size == photograph.size
    assert distort(photograph, 3).tobytes() == distorted.tobytes() != photograph.tobytes()


def test_deep_jscc_meets_the_noise_of_its_seed_and_does_not_fade() -> None:
    photograph = open_photograph("cat").resize((162, 122))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DeepJSCC(width=8, depth=1).eval()
    received = deep_jscc(model, -5.0, photograph, 3)
    assert received.size == photograph.size
    assert deep_jscc(model, -5.0, photograph, 3).tobytes() == received.tobytes()
    assert deep_jscc(model, -5.0, photograph, 4).tobytes() != received.tobytes()
    # Of sides that are multiples of 4, nothing is resized on the way.
    whole = photograph.resize((160, 120))
    sent, snr = image_tensor(whole)[None] / 255, torch.tensor([-5.0])
    for channel, same in (("awgn", True), ("rayleigh", False)):
        with torch.no_grad():
            expected = model(sent, snr, channel, torch.Generator().manual_seed(3))[0]
        got = image_tensor(deep_jscc(model, -5.0, whole, 3))
        assert torch.equal(got, (255 * expected).round().clamp(0, 255).byte()) == same


def test_an_object_is_taken_away_replaced_or_moved() -> None:
    here = scene()
    assert red(here.image) > 1000
    assert red(erase(here)) == red(cut_out(here)) == 0
    assert red(swap(here, scene((20, 20, 200)))) == 0
    assert np.asarray(swap(here, scene((20, 20, 200))))[60, 50, 2] > 150
    moved = np.asarray(move(here))
    assert red(move(here)) > 1000
    assert moved[60, 50 + 56, 0] > 150 > moved[60, 35, 0]


def test_objects_lie_beside_their_photographs(tmp_path: Path) -> None:
    here = scene()
    here.image.save(tmp_path / "a.jpg")
    here.image.save(tmp_path / "without.jpg")
    Image.fromarray(here.object).convert("L").save(tmp_path / "a.object.png")
    assert list(load_drawn(tmp_path)) == ["a"]
    assert (load_drawn(tmp_path)["a"].object == here.object).all()


def test_what_is_seen_through_lies_above_what_is_lost() -> None:
    found = {
        title: {m: np.array(values) for m in MEASURES}
        for title, values in {
            "JPEG": [0.9, 0.8],
            "noise": [0.9, 0.4],
            ERASED: [0.5, 0.5],
            LOST[1]: [0.1, 0.1],
            LOST[2]: [0.95, 0.95],
            OTHERS: [0.2, 0.45],
        }.items()
    }
    rows, summary = summarise(found, ["JPEG", "noise"])
    by_name = {row["number"]: row["SeSS"] for row in summary}
    assert by_name[f"hard ordering, above {ERASED}"] == pytest.approx(0.75)
    assert by_name[f"hard ordering, above {LOST[1]}"] == 1
    assert by_name[f"hard ordering, above {LOST[2]}"] == 0
    assert by_name["AUC, distorted against other"] == pytest.approx(7 / 8)
    assert rows[1]["above, SeSS"] == 0.5
    assert rows[0]["SeSS, rescaled"] == pytest.approx((0.85 - 0.325) / (1 - 0.325))
