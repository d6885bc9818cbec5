"""Damage that codecs, channels and cameras do to photographs, and how much of it people still see through.

Every kind is a function of a photograph and a random generator; it returns the damaged photograph and a *visibility* in
[0, 1]: how often people who name the object of the photograph still name it, where that has been measured
(``Recognition``), and a cautious guess elsewhere. A network that learned to see through everything would see what no
person does.

What is not here, on purpose, so that it can be used for judging: JPEG 2000, packet loss with concealment, power
equalisation, rotation; and of learned codecs, the transmitter of ``examples/deep_jscc``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.fft import dctn, idctn
from scipy.ndimage import uniform_filter, uniform_filter1d

from training.learned_codecs import LearnedCodec, noise_level

TABLE = Path(__file__).parents[1] / "benchmarks" / "trust" / "recognition.csv"
CHANCE = 1 / 16
# The side of the photographs that people were shown, in pixels.
SHOWN = 224

Damaged: TypeAlias = tuple[Image.Image, float]
Damage: TypeAlias = Callable[[Image.Image, np.random.Generator], Damaged]


class Recognition:
    """How much people still recognise, as a function of the degree of one kind of damage.

    Args:
        degrees: ascending.
        accuracies: share of objects named at each, from least damage to most, or the other way.

    Examples:
        >>> seen = Recognition([0, 10], [0.9, 0.0625])
        >>> float(seen(0)), float(seen(5)), float(seen(99))
        (1.0, 0.5, 0.0)
    """

    def __init__(self, degrees: Sequence[float], accuracies: Sequence[float]) -> None:
        order = np.argsort(degrees)
        above_chance = np.clip(np.asarray(accuracies, dtype=float)[order] - CHANCE, 0, None)
        # People's errors make the table bumpy; damage only ever hides.
        rising = above_chance[-1] > above_chance[0]
        steady = np.maximum.accumulate(above_chance if rising else above_chance[::-1])
        self.degrees = np.asarray(degrees, dtype=float)[order]
        self.visibility = (steady if rising else steady[::-1]) / steady[-1]

    def __call__(self, degree: float) -> float:
        """Return the visibility at a degree of damage; beyond the table it stays what it is at its end."""
        return float(np.interp(degree, self.degrees, self.visibility))


@cache
def people() -> Mapping[str, Recognition]:
    """Return what people still recognise under blur, noise and loss of contrast, from the benchmark's table."""
    rows = list(csv.DictReader(TABLE.read_text().splitlines()))

    def table(kind: str, degree: Callable[[str], float]) -> Recognition:
        chosen = [(degree(row["condition"]), float(row["accuracy"])) for row in rows if row["kind"] == kind]
        return Recognition(*zip(*chosen, strict=True))

    return {
        # Standard deviation of the blur, in pixels of a photograph of 224.
        "low-pass": table("low-pass", float),
        # Half width of uniform noise on a photograph of 30 % contrast.
        "noise": table("uniform-noise", float),
        "contrast": table("contrast", lambda condition: int(condition[1:]) / 100),
    }


def jpeg(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Compress to JPEG of a low quality, sometimes with coarse colours."""
    quality = round(_log_uniform(random, 2, 40))
    options = {"quality": quality, "subsampling": int(random.choice([0, 2]))}
    return _through(image, "jpeg", **options), float(np.interp(quality, [2, 3, 5, 8], [0.8, 0.93, 0.99, 1]))


def webp(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Compress to WebP of a low quality."""
    quality = int(random.integers(0, 21))
    return _through(image, "webp", quality=quality, method=2), float(np.interp(quality, [0, 5], [0.97, 1]))


def avif(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Compress to AVIF of a low quality."""
    quality = int(random.integers(0, 26))
    return _through(image, "avif", quality=quality, speed=10), float(np.interp(quality, [0, 8], [0.96, 1]))


def blur(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Blur with a Gaussian."""
    deviation = _log_uniform(random, 0.7, 16)
    pixels = deviation * _scale(image)
    return image.filter(ImageFilter.GaussianBlur(pixels)), people()["low-pass"](deviation)


def box_blur(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Blur with a square, or with a line as a moving camera does."""
    width = _log_uniform(random, 2, 22)
    size = max(2, round(width * _scale(image)))
    if random.random() < 0.5:
        return image.filter(ImageFilter.BoxBlur(size / 2)), people()["low-pass"](width / 3.46)
    moved = uniform_filter1d(np.asarray(image, dtype=np.float32), size, axis=int(random.integers(2)), mode="nearest")
    return _image(moved), people()["low-pass"](width / 5)


def down_up(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Shrink, and enlarge again."""
    factor = _log_uniform(random, 2, 20)
    small = [max(2, round(side / factor / _scale(image))) for side in image.size]
    down = Image.Resampling(random.choice([Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]))
    up = Image.Resampling(
        random.choice([Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
    )
    return image.resize(small, down).resize(image.size, up), people()["low-pass"](0.42 * factor)


def noise(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Add white noise, grey or coloured, normal or uniform; often to a grey photograph of low contrast."""
    pixels = np.asarray(image, dtype=np.float32)
    contrast = 1.0
    if random.random() < 0.5:
        contrast = random.uniform(0.2, 0.6)
        pixels = 127.5 + contrast * (_grey(pixels) - 127.5)
    # What people see depends on the noise against the contrast. The table is of a contrast of .3.
    width = _log_uniform(random, 0.02, 0.95)
    amplitude = width / 0.3 * contrast * 255
    shape = (*pixels.shape[:2], 1 if random.random() < 0.5 else 3)
    added = random.uniform(-1, 1, shape) if random.random() < 0.5 else random.normal(0, 3**-0.5, shape)
    return _image(pixels + amplitude * added), min(people()["noise"](width), people()["contrast"](contrast))


def coloured_noise(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Add noise that is smooth over some pixels, or has a spectrum that falls as a power, as analog channels do."""
    deviation = _log_uniform(random, 8, 120)
    if random.random() < 0.5:
        pixels = np.asarray(image, dtype=np.float32) + deviation * _power_law(image.size, random)
        return _image(pixels), people()["noise"](min(0.95, 0.3 * 3**0.5 * deviation / 255))
    size = _log_uniform(random, 1, 24) * _scale(image)
    low = random.normal(0, 1, (max(2, round(image.height / size)), max(2, round(image.width / size)), 3))
    bands = [
        np.asarray(Image.fromarray(band.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC))
        for band in np.moveaxis(low if random.random() < 0.7 else low[..., :1].repeat(3, -1), -1, 0)
    ]
    pixels = np.asarray(image, dtype=np.float32) + deviation * np.stack(bands, -1)
    # Blotches hide more than grain does.
    return _image(pixels), people()["noise"](min(0.95, 0.3 * 3**0.5 * 2 * deviation / 255))


def transform_coded(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Keep the strongest coefficients of a cosine transform, or send all as they are over a noisy channel.

    The first is what every transform codec does at its lowest rate. The second is analog transmission with a receiver
    of least mean squared error, after SoftCast (Jakubczak and Katabi, MobiCom 2011).
    """
    planes = np.asarray(image.convert("YCbCr"), dtype=np.float32)
    means = planes.mean((0, 1))
    planes = planes - means
    side = int(random.choice([8, 16, 32, 64, max(image.size)]))
    height, width = (-(-length // side) * side for length in planes.shape[:2])
    padded = np.pad(planes, ((0, height - len(planes)), (0, width - planes.shape[1]), (0, 0)), mode="edge")
    blocks = padded.reshape(height // side, side, width // side, side, 3)
    coefficients = dctn(blocks, axes=(1, 3), norm="ortho")
    if random.random() < 0.5:
        strength = np.abs(coefficients) / np.array([1, 2, 2], dtype=np.float32)
        share = _log_uniform(random, 0.001, 0.05)
        coefficients[strength < np.quantile(strength, 1 - share)] = 0
    else:
        # Of every frequency, over the blocks and its neighbours: what a receiver is told beside the signal.
        power = uniform_filter((coefficients**2).mean((0, 2)), (max(1, side // 16),) * 2 + (0,))[None, :, None] + 1e-6
        spread = 10 ** (-random.uniform(-16, 8) / 10) * np.sqrt(power).mean() ** 2
        gain = np.sqrt(power) / (np.sqrt(power) + spread / np.sqrt(power).mean())
        noise = random.normal(0, 1, coefficients.shape) * np.sqrt(power * (1 - gain) / gain)
        coefficients = gain * (coefficients + noise)
    decoded = idctn(coefficients, axes=(1, 3), norm="ortho").reshape(padded.shape)[: len(planes), : planes.shape[1]]
    lost = np.mean((decoded[..., 0] - planes[..., 0]) ** 2) / (planes[..., 0].var() + 1)
    seen = np.interp(lost, [0.02, 0.1, 0.2, 0.4, 0.7, 1], [1, 0.93, 0.8, 0.5, 0.2, 0])
    levels = (decoded + means).round().clip(0, 255).astype(np.uint8)
    bands = [Image.fromarray(levels[..., band]) for band in range(3)]
    return Image.merge("YCbCr", bands).convert("RGB"), float(seen)


def learned(image: Image.Image, random: np.random.Generator, codecs: Sequence[LearnedCodec]) -> Damaged:
    """Send through one of some learned codecs."""
    codec = codecs[int(random.integers(len(codecs)))]
    received = codec.send(image, noise_level(random), int(random.integers(2**31)))
    before, after = (_grey(np.asarray(picture, dtype=np.float32))[..., 0].ravel() for picture in (image, received))
    # Another brightness or contrast of the whole hides nothing.
    spread = before.std() * after.std()
    kept = float(np.mean((before - before.mean()) * (after - after.mean())) / (spread + 1)) if spread else 0.0
    hidden = 1 - max(0, kept) ** 2
    return received, float(np.interp(hidden, [0.05, 0.2, 0.4, 0.6, 0.8, 1], [1, 0.93, 0.8, 0.6, 0.3, 0]))


def low_contrast(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Take contrast away, around middle grey, with or without the colours.

    A network undoes this more easily than any other kind, so that less than people see is asked for: the square of it.
    """
    contrast = _log_uniform(random, 0.008, 0.8)
    pixels = np.asarray(image, dtype=np.float32)
    if random.random() < 0.7:
        pixels = _grey(pixels)
    return _image(127.5 + contrast * (pixels - 127.5)), people()["contrast"](contrast) ** 2


def dark(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Take light away, as night does, with a little of the noise that cameras add."""
    light = _log_uniform(random, 0.04, 0.7)
    pixels = light * np.asarray(image, dtype=np.float32)
    return _image(pixels + random.normal(0, 1.5, pixels.shape)), people()["contrast"](min(1, 1.5 * light))


def tone(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Change gamma and white balance, or take the colours away."""
    pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
    if random.random() < 0.4:
        pixels = _grey(pixels)
    gain = random.uniform(0.55, 1.3, 3) if random.random() < 0.6 else random.uniform(0.7, 1.6)
    return _image(255 * np.clip(gain * pixels, 0, 1) ** _log_uniform(random, 0.45, 2.2)), 1.0


def few_colours(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Leave few colours, or few levels."""
    count = int(random.integers(2, 17))
    seen = float(np.interp(count, [2, 4, 8], [0.85, 0.95, 1]))
    if random.random() < 0.5:
        dither = Image.Dither(int(random.choice([Image.Dither.NONE, Image.Dither.FLOYDSTEINBERG])))
        return image.quantize(count, dither=dither).convert("RGB"), seen
    levels = np.floor(np.asarray(image, dtype=np.float32) / 256 * count) / (count - 1)
    return _image(255 * levels), seen


def impulses(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Replace single pixels by black, white or any colour."""
    share = _log_uniform(random, 0.02, 0.85)
    pixels = np.array(image)
    hit = random.random(pixels.shape[:2]) < share
    count = int(hit.sum())
    any_colour = random.random() < 0.3
    pixels[hit] = random.integers(0, 256, (count, 3)) if any_colour else 255 * random.integers(0, 2, (count, 1))
    seen = np.interp(share, [0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8], [1, 0.95, 0.9, 0.75, 0.5, 0.3, 0.1])
    return Image.fromarray(pixels), float(seen)


def lost_blocks(image: Image.Image, random: np.random.Generator) -> Damaged:
    """Lose small blocks: too small to take an object away."""
    share = random.uniform(0.03, 0.4)
    side = max(2, round(random.uniform(4, 16) * _scale(image)))
    pixels = np.array(image)
    rows, columns = (-(-length // side) for length in pixels.shape[:2])
    lost = np.kron(random.random((rows, columns)) < share, np.ones((side, side), bool))
    pixels[lost[: pixels.shape[0], : pixels.shape[1]]] = int(random.choice([0, 127, 255]))
    return Image.fromarray(pixels), 1 - share**1.5


KINDS: tuple[Damage, ...] = (
    jpeg,
    webp,
    avif,
    blur,
    box_blur,
    down_up,
    noise,
    coloured_noise,
    transform_coded,
    low_contrast,
    dark,
    tone,
    few_colours,
    impulses,
    lost_blocks,
)
# What users meet most, and what hides most, is worth most of the time.
WEIGHTS = np.array([5, 2, 2, 5, 1, 3, 6, 5, 4, 3, 1, 1, 1, 1, 1], dtype=float)


def damage(
    image: Image.Image,
    random: np.random.Generator,
    *,
    clean: float = 0.12,
    colourless: float = 0.25,
    twice: float = 0.25,
    codecs: Sequence[LearnedCodec] = (),
    learned_share: float = 0.2,
) -> Damaged:
    """Damage a photograph in a random way.

    Args:
        image: the photograph, RGB.
        random: where chance comes from.
        clean: how often nothing is done.
        colourless: how often the colours are taken away first.
        twice: how often a second kind follows.
        codecs: learned codecs; without any, that kind is left out.
        learned_share: how often one of them is the first kind.
    """
    if random.random() < clean:
        return image, 1.0
    first, second = random.choice(len(KINDS), 2, replace=False, p=WEIGHTS / WEIGHTS.sum())
    if random.random() < colourless:
        image = image.convert("L").convert("RGB")
    if codecs and random.random() < learned_share:
        image, seen = learned(image, random, codecs)
    else:
        image, seen = KINDS[first](image, random)
    if random.random() < twice and seen > 0.5:
        image, seen_then = KINDS[second](image, random)
        seen *= seen_then
    return image, seen


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _power_law(size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
    """Return noise of unit variance, grey or coloured, whose amplitude falls as a power of the frequency."""
    width, height = size
    planes = 1 if random.random() < 0.3 else 3
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    falling = np.maximum(frequency, _log_uniform(random, 2, 16) / max(size)) ** -random.uniform(0.4, 2)
    spectrum = np.fft.rfft2(random.normal(size=(planes, height, width))) * falling
    spectrum[:, 0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(height, width))
    unit: NDArray[np.float32] = (noise / noise.std((1, 2), keepdims=True)).transpose(1, 2, 0).astype(np.float32)
    return unit


def _scale(image: Image.Image) -> float:
    """Return how many pixels of an image one pixel of what people were shown is."""
    return min(image.size) / SHOWN


def _through(image: Image.Image, codec: str, **options: int) -> Image.Image:
    with io.BytesIO() as file:
        image.save(file, codec, **options)
        return Image.open(file).convert("RGB")


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return (pixels @ np.array([0.2125, 0.7154, 0.0721], dtype=np.float32))[..., None].repeat(3, -1)


def _image(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
