"""Codecs by name and by command: what they make, and every way in which they can fail."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess.curves import codecs
from torchmetrics_sess.curves.codecs import PillowCodec, parse_codec
from torchmetrics_sess.images import read_image

PICTURE = to_pil_image(stub_images(1, size=(48, 64))[0])


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "webp", "avif", "jpegxl"])
@pytest.mark.parametrize("points", [2, 8])
def test_a_ladder_goes_from_few_bits_to_many(name: str, points: int, tmp_path: Path) -> None:
    codec = parse_codec(name, points)
    assert len(codec.qualities) == points
    sizes = []
    for quality in (codec.qualities[0], codec.qualities[-1]):
        path = tmp_path / f"{quality}{codec.extension}"
        codec.encode(PICTURE, quality, path)
        assert codec.bitstream(path) == path
        assert read_image(path).shape == (3, 48, 64)
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", ["hevc", "vvc"])
def test_ffmpeg_codes_what_there_is_a_ffmpeg_for_and_is_named_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in that knows the encoders and copies: what is tested is how it is called and found.
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport shutil, sys\n"
        "if '-encoders' in sys.argv: print('libx265 libvvenc')\n"
        "else: shutil.copy(*(sys.argv[at].removeprefix('file:') for at in (sys.argv.index('-i') + 1, -1)))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    codec = parse_codec(f"{name}:30")
    path = tmp_path / "a b: %d.png"
    codec.encode(PICTURE, "30", path)
    assert np.array_equal(read_image(path), np.asarray(PICTURE).transpose(2, 0, 1))
    assert codec.bitstream(path).stat().st_size > 0
    program.write_text(f"#!{sys.executable}\nprint('libx264')\n")
    with pytest.raises(ValueError, match="was built without lib"):
        parse_codec(name)
    monkeypatch.setattr(codecs, "_ffmpeg", lambda: None)
    with pytest.raises(ValueError, match=r"it needs ffmpeg with lib.*pip install imageio-ffmpeg"):
        parse_codec(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpg", "there is no codec 'jpg': there are jpeg, jpeg2000, webp, avif, jpegxl, hevc, vvc, and your own"),
        ("jpeg:0", "jpeg takes a quality from 1 to 100, a whole number, got '0'"),
        ("jpeg:101", "got '101'"),
        ("webp:-1", "'-1' is no quality"),
        ("avif:5.5", "a whole number, got '5.5'"),
        ("jpeg2000:1", "how many times fewer bits than the 24 of a pixel, from 2 to 2000"),
        ("jpeg:5,5", "names a quality twice"),
        ("jpeg:", "'' is no quality"),
        ("../mine=enc {in} {bits}; dec {bits} {out}", "can be that of a folder"),
        ("=enc {in} {bits}; dec {bits} {out}", "can be that of a folder"),
        ("mine=enc {in} {bits}", "two commands with a semicolon between them"),
        ("mine=enc {in}; dec {bits} {out}", "enc '{in}' lacks {bits}"),
        ("mine=; dec {bits} {out}", "nothing lacks {in} and {bits}"),
        ("mine='enc {in} {bits}; dec {bits} {out}", "No closing quotation"),
        ("mine:../x=enc {in} {bits}; dec {bits} {out}", "'../x' is no quality"),
    ],
)
def test_what_is_no_codec_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_codec(text)


def test_a_codec_that_is_not_here_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="jpegxl is not to be had here: `pip install pillow-jxl-plugin` brings it"):
        parse_codec("jpegxl")
    monkeypatch.setattr("PIL.features.get_supported", list)
    with pytest.raises(ValueError, match="this Pillow was built without it; `pip install --upgrade pillow`"):
        parse_codec("avif")


def test_no_shell_sees_a_command(tmp_path: Path) -> None:
    copy = "import shutil, sys; shutil.copy(*sys.argv[1:3])"
    codec = parse_codec(
        f'mine:7={sys.executable} -c "{copy}" {{in}} {{bits}} "$(touch {tmp_path}/harm) > {{q}}"; cp {{bits}} {{out}}'
    )
    path = tmp_path / "b [1] $x; 'y'.png"
    codec.encode(PICTURE, "7", path)
    assert np.array_equal(read_image(path), np.asarray(PICTURE).transpose(2, 0, 1))
    assert codec.bitstream(path) == tmp_path / "b [1] $x; 'y'.bits"
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ("nothing_here {in} {bits}; cp {bits} {out}", "mine 5 failed: nothing_here cannot be run: no such file"),
        (
            "sh -c 'echo broken image >&2; exit 3' {in} {bits}; cp {bits} {out}",
            "ended with status 3, and said: broken",
        ),
        ("sh -c 'kill -9 $$' {in} {bits}; cp {bits} {out}", "sh ended by signal 9"),
        ("true {in} {bits}; cp {bits} {out}", "true wrote no file to {bits}"),
        ("touch {in} {bits}; cp {bits} {out}", "touch wrote an empty file to {bits}"),
        ("cp {in} {bits}; true {bits} {out}", "true wrote no file to {out}"),
        ("cp {in} {bits}; touch {bits} {out}", "touch wrote an empty file to {out}"),
    ],
)
def test_a_command_that_fails_says_how_and_leaves_no_image(commands: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_codec(f"mine:5={commands}").encode(PICTURE, "5", tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    codec = parse_codec(f"mine:5=sh -c '(sleep 1; touch {mark}) & wait' {{in}} {{bits}}; cp {{bits}} {{out}}", 8, 0.2)
    with pytest.raises(ValueError, match=r"sh did not end within 0\.2 seconds"):
        codec.encode(PICTURE, "5", tmp_path / "a.png")
    time.sleep(1)
    assert not mark.exists()


def test_an_image_that_pillow_cannot_encode_is_named(tmp_path: Path) -> None:
    codec = parse_codec("webp:5")
    assert isinstance(codec, PillowCodec)
    with pytest.raises(ValueError, match="webp 5 failed: "):
        codec.encode(Image.new("RGB", (17000, 1)), "5", tmp_path / "a.webp")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_encoder_leaves_nothing_half_done(tmp_path: Path) -> None:
    codec = parse_codec("mine:5=cp {in} {bits}; sh -c 'head -c 10 $0 > $1; exit 1' {bits} {out}")
    with pytest.raises(ValueError, match="ended with status 1"):
        codec.encode(PICTURE, "5", tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bits"]
