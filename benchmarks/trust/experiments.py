"""The four experiments of ``semantics.py``: in how many ways a photograph can be changed, and how far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, features

from benchmarks.shared.photographs import Scene
from benchmarks.trust import edits
from benchmarks.trust.channels import send_analog, send_digital
from torchmetrics_sess.cli.distortions import brighten, compress

EXPERIMENTS = ("compression", "channel", "generated content", "transformations")
QUALITIES = (95, 90, 80, 70, 60, 50, 40, 30, 20, 15, 10, 5)
# Pillow's name of each codec, and its options from high quality to low.
CODECS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "JPEG": ("jpg", [{"quality": quality} for quality in QUALITIES]),
    "WEBP": ("webp", [{"quality": quality} for quality in (90, 75, 50, 25, 10, 0)]),
    "JPEG2000": (
        "jpg_2000",
        [
            {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True}
            for ratio in (10, 20, 40, 80, 160, 320)
        ],
    ),
    "AVIF": ("avif", [{"quality": quality, "speed": 8} for quality in (80, 60, 45, 30, 15, 0)]),
}
ANALOG, DIGITAL = "uncoded (SoftCast-like)", "JPEG under an LDPC-like code"
SNRS_DB = (-10.0, -5.0, 0.0, 5.0, 8.0, 9.0, 9.5, 10.0, 12.0, 15.0)
DEVIATIONS = (5, 10, 20, 40, 60, 80)
RADII = (1, 2, 4, 6, 8)
KEPT = (0.95, 0.9, 0.75, 0.5, 0.25, 0.1)
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)

MILD, LOSS, REARRANGED = "keeps the meaning", "takes an object away", "rearranges"


@dataclass(frozen=True)
class Change:
    """A photograph after a change.

    Args:
        experiment: one of :data:`EXPERIMENTS`.
        series: changes that differ in degree only; in the last experiment, what they do to the meaning.
        level: which degree, for a table.
        badness: grows with the degree; 0 where there are none.
        at: where to draw it.
        image: the photograph, changed.
    """

    experiment: str
    series: str
    level: str
    badness: float
    at: float
    image: Image.Image


@dataclass(frozen=True)
class Scored:
    """A change of one photograph and what every measure says of it."""

    photograph: str
    change: Change
    scores: dict[str, float]


def codecs() -> list[str]:
    """Return the codecs that this Pillow can write."""
    return [codec for codec, (feature, _) in CODECS.items() if features.check(feature)]


def changes(name: str, scenes: dict[str, Scene], quick: bool = False) -> Iterator[Change]:
    """Change a photograph in every way; ``quick`` takes every third degree."""
    step = 3 if quick else 1
    image = scenes[name].image
    names = list(scenes)
    place = names.index(name)
    other = scenes[names[(place + 1) % len(names)]].image

    for codec in codecs():
        for index, options in enumerate(CODECS[codec][1][::step]):
            decoded, bits = edits.encode(image, codec, **options)
            degree = str(options["quality"]) if "quality" in options else f"1:{options['quality_layers'][0]}"
            yield Change("compression", codec, degree, float(index), bits, decoded)
    for series, send in {ANALOG: send_analog, DIGITAL: send_digital}.items():
        for snr in SNRS_DB[::step]:
            yield Change("channel", series, f"{snr:g} dB", -snr, snr, send(image, snr, seed=place))

    ladders: dict[str, tuple[Sequence[float], Callable[[float], Image.Image], float]] = {
        "noise": (DEVIATIONS, lambda level: edits.add_noise(image, level, seed=place), 1.0),
        "blur": (RADII, lambda level: edits.blur(image, level), 1.0),
        "diffusion": (KEPT, lambda level: edits.diffuse(image, level, seed=place), -1.0),
        "another photograph": (SHARES, lambda level: edits.blend(image, other, level), 1.0),
    }
    for kind, (levels, change, sign) in ladders.items():
        for level in levels[::step]:
            yield Change("generated content", kind, f"{level:g}", sign * level, level, change(level))

    for meaning, what, changed in transformations(name, scenes):
        # A grey photograph has no hue to turn.
        if changed.tobytes() != image.tobytes():
            yield Change("transformations", meaning, what, 0.0, 0.0, changed)


def transformations(name: str, scenes: dict[str, Scene]) -> Iterator[tuple[str, str, Image.Image]]:
    """Change a photograph in kind: what this does to its meaning, a name, and the result."""
    image, objects = scenes[name]
    yield MILD, "JPEG 50", compress(image, 50)
    yield MILD, "JPEG 30", compress(image, 30)
    yield MILD, "noise 10", edits.add_noise(image, 10)
    yield MILD, "noise 20", edits.add_noise(image, 20)
    yield MILD, "blur 1", edits.blur(image, 1)
    yield MILD, "shift 5 %", edits.shift(image, 0.05)
    yield MILD, "flip", edits.mirror(image)
    yield MILD, "rotation 5°", edits.rotate(image, 5)
    yield MILD, "crop 10 %", edits.crop(image, 0.1)
    yield MILD, "brighter 30 %", brighten(image, 1.3)
    yield MILD, "darker 30 %", brighten(image, 0.7)
    yield MILD, "contrast +40 %", edits.contrast(image, 1.4)
    yield MILD, "hue 20°", edits.turn_hue(image, 20)
    yield MILD, "greyscale", edits.grey(image)
    yield MILD, "32 colours", edits.quantise(image, 32)
    if objects:
        yield LOSS, "object cut out", edits.cut_out(image, objects[0])
        yield LOSS, "object erased", edits.erase(image, objects[0])
        donors = [other for other, scene in scenes.items() if scene.objects and other != name]
        for k in (1, 2):
            if donors:
                donor = scenes[donors[(list(scenes).index(name) + 5 * k) % len(donors)]]
                yield LOSS, f"object swapped {k}", edits.swap(image, objects[0], donor.image, donor.objects[0])
    if len(objects) > 1:
        yield REARRANGED, "objects exchanged", edits.exchange(image, *objects[:2])
    yield REARRANGED, "left and right exchanged", edits.exchange_halves(image, "left and right")
    yield REARRANGED, "top and bottom exchanged", edits.exchange_halves(image, "top and bottom")
    yield REARRANGED, "quadrants exchanged", edits.exchange_quadrants(image)
