"""Codecs by name: those of Pillow, those of ffmpeg, and commands of one's own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, runtime_checkable

from PIL import Image, features

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.curves.commands import check_command, ending_commands, make_file, parse_command

# Qualities are parts of paths.
_QUALITY = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]*")


@runtime_checkable
class Codec(Protocol):
    """Makes a bitstream of an image, and an image of it."""

    @property
    def name(self) -> str:
        """What it is called; the name of its folder."""

    @property
    def qualities(self) -> Sequence[str]:
        """Its points."""

    @property
    def extension(self) -> str:
        """Extension of a file that it decodes to: the bitstream itself, if Pillow reads it."""

    @property
    def recipe(self) -> str:
        """Everything that its files depend on besides quality and image, in a line."""

    def encode(self, image: Image.Image, quality: str, path: Path) -> None:
        """Write the image as it comes back to ``path``, with its bitstream beside if that is another file.

        Raises:
            ValueError: if that fails; the message says what went wrong.
        """

    def bitstream(self, path: Path) -> Path:
        """Return where the bitstream of the image at ``path`` is."""


@dataclass(frozen=True)
class PillowCodec:
    """A codec that Pillow writes and reads.

    Args:
        name: what it is called.
        qualities: its points.
        format: what Pillow calls it.
        extension: of its files.
        options: what to pass to Pillow for a quality.
        recipe: everything that its files depend on besides quality and image.
    """

    name: str
    qualities: Sequence[str]
    format: str
    extension: str
    options: Callable[[int], dict[str, Any]]
    recipe: str

    def encode(self, image: Image.Image, quality: str, path: Path) -> None:
        """Write the bitstream, all of it or none."""
        try:
            with replacing(path) as part:
                image.save(part, self.format, **self.options(int(quality)))
        # Encoders fail with whatever they stumble over, such as a side that is too long for their format.
        except Exception as error:
            raise ValueError(f"{self.name} {quality} failed: {str(error) or type(error).__name__}") from error

    def bitstream(self, path: Path) -> Path:
        """Return where the bitstream of the image at ``path`` is: it is that."""
        return path


@dataclass(frozen=True)
class CommandCodec:
    """A codec that is two commands: ``{in}`` is a PNG file to read, ``{bits}`` the bitstream, ``{out}`` a PNG to write.

    Args:
        name: what it is called.
        qualities: its points, in place of ``{q}``.
        commands: to encode, then to decode, each a list of arguments; no shell sees them. ``{width}`` and ``{height}``
            are those of the image, for bitstreams that do not say.
        seconds: how long each may take.
        bits: extension of the bitstream.
    """

    name: str
    qualities: Sequence[str]
    commands: tuple[Sequence[str], Sequence[str]]
    seconds: float
    bits: str = ".bits"
    extension: str = ".png"

    @property
    def recipe(self) -> str:
        """Everything that its files depend on besides quality and image."""
        return repr(self.commands)

    def encode(self, image: Image.Image, quality: str, path: Path) -> None:
        """Write the bitstream, then what it decodes to, each all of it or none."""
        encoder, decoder = self.commands
        bits = self.bitstream(path)
        try:
            with TemporaryDirectory(prefix="sess-") as folder:
                source = Path(folder, "image.png")
                image.save(source, compress_level=1)
                known = {"q": quality, "width": str(image.width), "height": str(image.height)}
                make_file(encoder, bits, {"in": str(source), **known}, "bits", self.seconds)
                make_file(decoder, path, {"bits": str(bits), **known}, "out", self.seconds)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.name} {quality} failed: {error}") from error

    def bitstream(self, path: Path) -> Path:
        """Return where the bitstream of the image at ``path`` is."""
        return path.with_name(f"{path.name.removesuffix(self.extension)}{self.bits}")


def parse_codec(text: str, points: int = 8, seconds: float = 60.0) -> Codec:
    """Return the codec that ``--codec`` asks for: ``NAME``, ``NAME:Q,Q,...``, or either with ``=COMMAND; COMMAND``.

    Args:
        text: what was passed.
        points: how many qualities to take where none are named.
        seconds: how long a command may take.

    Raises:
        ValueError: if there is no such codec, it is not to be had here, or a quality is none of its.

    Examples:
        >>> parse_codec("jpeg:5,40").qualities
        ('5', '40')
        >>> parse_codec("jpeg", points=4).qualities
        ('5', '13', '34', '90')
        >>> parse_codec("mine:1,2=enc {in} {bits} {q}; dec {bits} {out}").commands
        (('enc', '{in}', '{bits}', '{q}'), ('dec', '{bits}', '{out}'))
    """
    if points < 2:
        raise ValueError(f"--points must be at least 2, which make a curve, got {points}")
    head, equals, command = text.partition("=")
    name, colon, listed = head.partition(":")
    name = name.strip()
    if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"--codec takes a name that can be that of a folder, such as jpeg, got {text!r}")
    qualities = tuple(quality.strip() for quality in listed.split(",")) if colon else ()
    if len(set(qualities)) < len(qualities):
        raise ValueError(f"--codec {head} names a quality twice")
    for quality in qualities:
        if not _QUALITY.fullmatch(quality):
            raise ValueError(f"--codec {head}: {quality!r} is no quality")
    if equals:
        commands = parse_command(command, name)
        return CommandCodec(name, qualities or _evenly(5, 95, points), commands, seconds)
    if name not in _KNOWN:
        known = ", ".join(_KNOWN)
        raise ValueError(
            f"there is no codec {name!r}: there are {known}, and your own as "
            "--codec NAME:Q,Q='ENCODER {in} {bits} {q}; DECODER {bits} {out}'"
        )
    kind = _KNOWN[name]
    if reason := kind.missing():
        raise ValueError(f"{name} is not to be had here: {reason}")
    for quality in qualities:
        kind.check(name, quality)
    return kind.build(name, qualities or kind.ladder(points), seconds)


def ending_encoders(codecs: Sequence[Codec]) -> AbstractContextManager[None]:
    """End what codecs run as soon as Ctrl-C is pressed, or this process is killed; nothing, if they run no programs."""
    return ending_commands() if any(isinstance(codec, CommandCodec) for codec in codecs) else nullcontext()


@dataclass(frozen=True)
class _Kind:
    """A codec that is known by name, and the qualities that it has.

    Args:
        build: makes it, of its name, qualities and time limit.
        missing: says what it lacks on this machine, and how to get it.
        lowest: the lowest quality.
        highest: the highest one.
        ladder: a sensible choice of qualities, of so many points.
        what: what a quality is.
    """

    build: Callable[[str, Sequence[str], float], Codec]
    missing: Callable[[], str | None]
    lowest: int
    highest: int
    ladder: Callable[[int], tuple[str, ...]]
    what: str = "a quality"

    def check(self, name: str, quality: str) -> None:
        if not quality.isdecimal() or not self.lowest <= int(quality) <= self.highest:
            raise ValueError(
                f"{name} takes {self.what} from {self.lowest} to {self.highest}, a whole number, got {quality!r}"
            )


def _evenly(first: int, last: int, count: int) -> tuple[str, ...]:
    """Return whole numbers at even distances."""
    return tuple(dict.fromkeys(str(round(first + (last - first) * step / (count - 1))) for step in range(count)))


def _growing(first: int, last: int, count: int) -> tuple[str, ...]:
    """Return whole numbers at even ratios."""
    return tuple(dict.fromkeys(str(round(first * (last / first) ** (step / (count - 1)))) for step in range(count)))


def _pillow(
    format_name: str, extension: str, feature: str, options: Callable[[int], dict[str, Any]]
) -> tuple[Callable[[str, Sequence[str], float], Codec], Callable[[], str | None]]:
    """Return what makes a codec of Pillow, and what says that Pillow lacks it."""

    def build(name: str, qualities: Sequence[str], seconds: float) -> Codec:
        recipe = f"Pillow {format_name} {features.version(feature)} {sorted(options(0))}"
        return PillowCodec(name, tuple(qualities), format_name, extension, options, recipe)

    def missing() -> str | None:
        if feature in features.get_supported():
            return None
        return "this Pillow was built without it; `pip install --upgrade pillow` brings one that has it"

    return build, missing


def _jpeg_xl(name: str, qualities: Sequence[str], seconds: float) -> Codec:
    # Importing the plugin makes Pillow know the format.
    import pillow_jxl  # noqa: F401

    recipe = f"Pillow JXL {version('pillow-jxl-plugin')}"
    return PillowCodec(name, tuple(qualities), "JXL", ".jxl", lambda quality: {"quality": quality}, recipe)


def _missing_jpeg_xl() -> str | None:
    return None if find_spec("pillow_jxl") else "`pip install pillow-jxl-plugin` brings it"


def _ffmpeg() -> str | None:
    """Return the path of an ffmpeg, if there is one: on the search path, or that of the package imageio-ffmpeg."""
    if found := shutil.which("ffmpeg"):
        return found
    if find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    return None


def _by_ffmpeg(
    encoder: str, bits: str, pixels: str, options: Sequence[str]
) -> tuple[Callable[[str, Sequence[str], float], Codec], Callable[[], str | None]]:
    """Return what makes a codec of ffmpeg, and what says that there is no ffmpeg, or none with that encoder."""

    def build(name: str, qualities: Sequence[str], seconds: float) -> Codec:
        quiet = [_ffmpeg() or "ffmpeg", "-hide_banner", "-loglevel", "error", "-y"]
        # Colours are coded and decoded by one matrix, of full range, whatever ffmpeg would assume of an image's size;
        # and a name is that of a file, whatever it looks like.
        # Halved colours take even sides, which decoding cuts off again.
        even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
        to_yuv = f"{even},scale=out_color_matrix=bt709:out_range=pc,format={pixels}"
        to_rgb = "scale=in_color_matrix=bt709:in_range=pc,format=rgb24,crop={width}:{height}:0:0"
        encode = [*quiet, "-i", "file:{in}", "-vf", to_yuv, "-frames:v", "1", "-c:v", encoder, *options, "file:{bits}"]
        decode = [*quiet, "-i", "file:{bits}", "-vf", to_rgb, "-frames:v", "1", "-update", "1", "file:{out}"]
        return CommandCodec(name, tuple(qualities), (encode, decode), seconds, bits)

    def missing() -> str | None:
        program = _ffmpeg()
        if program is None:
            return f"it needs ffmpeg with {encoder}; `pip install imageio-ffmpeg`, `apt install ffmpeg` or the like"
        if encoder not in check_command([program, "-hide_banner", "-encoders"]):
            return f"{program} was built without {encoder}; `pip install imageio-ffmpeg` brings one that has it"
        return None

    return build, missing


_KNOWN = {
    "jpeg": _Kind(
        *_pillow("JPEG", ".jpg", "jpg", lambda quality: {"quality": quality}),
        lowest=1,
        highest=100,
        ladder=lambda count: _growing(5, 90, count),
    ),
    "jpeg2000": _Kind(
        *_pillow(
            "JPEG2000",
            ".jp2",
            "jpg_2000",
            lambda ratio: {"irreversible": True, "quality_mode": "rates", "quality_layers": [ratio]},
        ),
        lowest=2,
        highest=2000,
        ladder=lambda count: _growing(240, 10, count),
        what="how many times fewer bits than the 24 of a pixel,",
    ),
    "webp": _Kind(
        *_pillow("WEBP", ".webp", "webp", lambda quality: {"quality": quality}),
        lowest=0,
        highest=100,
        ladder=lambda count: _growing(1, 90, count),
    ),
    "avif": _Kind(
        *_pillow("AVIF", ".avif", "avif", lambda quality: {"quality": quality}),
        lowest=0,
        highest=100,
        ladder=lambda count: _evenly(2, 85, count),
    ),
    "jpegxl": _Kind(_jpeg_xl, _missing_jpeg_xl, lowest=0, highest=100, ladder=lambda count: _evenly(5, 92, count)),
    "hevc": _Kind(
        *_by_ffmpeg(
            "libx265",
            ".hevc",
            "yuv444p",
            ["-crf", "{q}", "-preset", "medium", "-x265-params", "log-level=error:range=full:info=0"],
        ),
        lowest=0,
        highest=51,
        ladder=lambda count: _evenly(48, 18, count),
        what="a CRF",
    ),
    "vvc": _Kind(
        *_by_ffmpeg("libvvenc", ".vvc", "yuv420p10le", ["-qp", "{q}", "-qpa", "0", "-preset", "medium"]),
        lowest=0,
        highest=63,
        ladder=lambda count: _evenly(52, 20, count),
        what="a QP",
    ),
}


def check_seconds(seconds: float) -> float:
    """Check a time limit.

    Raises:
        ValueError: if it is not positive.
    """
    if not (isfinite(seconds) and seconds > 0):
        raise ValueError(f"--time-limit takes a number of seconds above 0, got {seconds:g}")
    return seconds
