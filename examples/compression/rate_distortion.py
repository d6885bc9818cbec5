"""Compare JPEG, JPEG 2000, WebP and AVIF: bits per pixel against PSNR, MS-SSIM and SeSS.

python -m examples.compression.rate_distortion
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, features

from examples.photographs import load_photographs, pixels
from examples.quality import Quality, as_curves, quality_metrics, save_curves, write_table

PHOTOGRAPHS = ("astronaut", "chelsea", "china", "coffee", "flower", "motorcycle_left", "rocket")


class Codec(NamedTuple):
    """A codec of Pillow.

    Attributes:
        format: what Pillow calls it.
        feature: what Pillow calls the ability to use it.
        settings: the options of its points on the curve, from the fewest bits to the most.
    """

    format: str
    feature: str
    settings: Sequence[Mapping[str, Any]]


CODECS = {
    "JPEG": Codec("JPEG", "jpg", [{"quality": quality} for quality in (2, 5, 10, 20, 40, 75, 90)]),
    "JPEG 2000": Codec(
        "JPEG2000",
        "jpg_2000",
        # How many times fewer bits than the 24 of a pixel.
        [
            {"irreversible": True, "quality_mode": "rates", "quality_layers": [ratio]}
            for ratio in (320, 160, 80, 40, 20, 10)
        ],
    ),
    "WebP": Codec("WEBP", "webp", [{"quality": quality, "method": 6} for quality in (0, 4, 10, 25, 50, 80, 92)]),
    "AVIF": Codec("AVIF", "avif", [{"quality": quality} for quality in (0, 15, 25, 40, 60, 80, 92)]),
}


def encode(image: Image.Image, codec: Codec, options: Mapping[str, Any]) -> tuple[Image.Image, float]:
    """Return an image as a codec gives it back, and the bits per pixel that its file took."""
    file = io.BytesIO()
    image.save(file, codec.format, **options)
    bits = 8 * len(file.getvalue()) / (image.width * image.height)
    return Image.open(file).convert("RGB"), bits


def measure(photographs: Sequence[Image.Image], codecs: Mapping[str, Codec], preset: str = "lite") -> list[Quality]:
    """Return the points of all curves: means over the photographs, at each setting of each codec."""
    metrics = quality_metrics(preset)
    qualities = []
    for name, codec in codecs.items():
        for options in codec.settings:
            metrics.reset()
            total_bits = 0.0
            for photograph in photographs:
                decoded, bits = encode(photograph, codec, options)
                metrics.update(pixels(decoded)[None], pixels(photograph)[None])
                total_bits += bits
            values = {key: value.item() for key, value in metrics.compute().items()}
            qualities.append(Quality(name, total_bits / len(photographs), **values))
    return qualities


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write it and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photographs", nargs="+", default=PHOTOGRAPHS, metavar="NAME")
    parser.add_argument("--longer-side", type=int, default=512, help="what photographs are shrunk to, in pixels")
    parser.add_argument("--preset", default="lite", help="of the semantic similarity score")
    parser.add_argument("--out", type=Path, default=Path("runs/compression"), help="folder to write to")
    options = parser.parse_args(arguments)

    supported = features.get_supported()
    codecs = {name: codec for name, codec in CODECS.items() if codec.feature in supported}
    for name in CODECS.keys() - codecs.keys():
        print(f"{name} is left out: this Pillow was built without it")
    photographs = list(load_photographs(options.photographs, options.longer_side).values())
    qualities = measure(photographs, codecs, options.preset)

    options.out.mkdir(parents=True, exist_ok=True)
    write_table(qualities, options.out / "rate_distortion.csv", "codec", "bits_per_pixel")
    save_curves(as_curves(qualities, "bpp"), options.out / "rate_distortion.png")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
