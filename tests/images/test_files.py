"""Image files: every kind gives the same picture, nothing unreadable gets through, and pairs are the right ones."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from torchmetrics_sess.images import FilePair, find_images, pair_files, read_image, read_pairs

COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [120, 60, 30], [255, 255, 255]]], np.uint8)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


@settings(derandomize=True, max_examples=20, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["png", "bmp", "tiff", "ppm", "webp"]),
    st.integers(0, 2**32 - 1),
)
def test_lossless_formats_give_back_what_was_written(height: int, width: int, extension: str, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = save(Image.fromarray(pixels), Path(folder, f"image.{extension}"), lossless=True)
        image = read_image(path)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_applied(orientation: int, tmp_path: Path) -> None:
    upright = Image.fromarray(COLOURS)
    # What a camera has to store so that the stated orientation turns it upright.
    stored = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(stored, tmp_path / "image.png", exif=exif)
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), COLOURS)


def test_sixteen_bit_greyscale_is_rounded_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    for name in ("image.png", "image.tiff"):
        image = read_image(save(Image.fromarray(values), tmp_path / name))
        assert image.tolist() == [[[0, 0, 1, 100, 255]]] * 3


def test_sixteen_bit_colour_keeps_the_high_bytes(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixel = struct.pack(">3H", 0xAB12, 0x00FF, 0xFFFF)
    header = struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0)
    path = tmp_path / "image.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + pixel))
        + chunk(b"IEND", b"")
    )
    assert read_image(path).flatten().tolist() == [0xAB, 0x00, 0xFF]


def test_grey_and_bilevel_images_become_rgb(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[0, 77, 255]], np.uint8))
    assert read_image(save(grey, tmp_path / "grey.png")).tolist() == [[[0, 77, 255]]] * 3
    bilevel = grey.convert("1", dither=Image.Dither.NONE)
    assert read_image(save(bilevel, tmp_path / "bilevel.png")).tolist() == [[[0, 0, 255]]] * 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_laid_on_white(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    if mode == "P":
        palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.save(path, transparency=0)
    else:
        image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
        image.putpixel((0, 0), (0, 0, 0, 0))
        image.convert(mode).save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    assert read_image(path).tolist() == [[[255, 0]]] * 3


def test_half_transparent_pixels_are_mixed_with_white(tmp_path: Path) -> None:
    path = save(Image.new("RGBA", (1, 1), (0, 100, 200, 51)), tmp_path / "image.png")
    assert read_image(path).flatten().tolist() == [204, 224, 244]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    path = save(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), tmp_path / "image.jpg", quality=100)
    red, green, blue = read_image(path).float().mean((1, 2)).tolist()
    assert (red, green, blue) == pytest.approx((0, 255, 255), abs=3)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = save(frames[0], tmp_path / "image.gif", save_all=True, append_images=frames[1:])
    assert read_image(path)[:, 0, 0].tolist() == [255, 0, 0]


def test_what_cannot_be_read_is_named_with_the_cause(tmp_path: Path) -> None:
    jpeg = save(Image.effect_noise((64, 64), 50), tmp_path / "whole.jpg").read_bytes()
    floats = Image.fromarray(np.zeros((2, 2), np.float32))
    integers = Image.fromarray(np.full((2, 2), 70000, np.int32))
    (tmp_path / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image at all")
    (tmp_path / "folder.png").mkdir()
    save(floats, tmp_path / "floats.tiff")
    save(integers, tmp_path / "integers.tiff")
    causes = {
        "missing.png": "no such file",
        "truncated.jpg": "truncated",
        "empty.png": "the file is empty",
        "text.png": "no image that Pillow knows",
        "folder.png": "is a directory",
        "floats.tiff": "no fixed range",
        "integers.tiff": "no fixed range",
    }
    for name, cause in causes.items():
        with pytest.raises(ValueError, match=f"{name} cannot be read: .*{cause}"):
            read_image(tmp_path / name)


def test_images_too_large_to_be_safe_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.new("RGB", (10, 10)), tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match=r"image\.png cannot be read: .*decompression bomb"):
        read_image(path)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["png", "jpg", "gif", "tiff", "webp", "bmp"]))
def test_any_bytes_give_an_image_or_a_value_error(content: bytes, extension: str) -> None:
    signatures = {"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "gif": b"GIF89a", "tiff": b"II*\0", "bmp": b"BM"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"image.{extension}")
        path.write_bytes(signatures.get(extension, b"RIFF\0\0\0\0WEBP") + content)
        try:
            outcome = f"{path} is an image of {len(read_image(path))} channels"
        except ValueError as error:
            outcome = str(error)
        assert outcome.startswith((f"{path} is an image of 3 channels", f"{path} cannot be read: "))


def test_images_are_found_in_subfolders_but_not_in_hidden_places(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("b/c/2.JPG", "b/1.png", "a.webp", "notes.txt", "data.h5", ".hidden/3.png", "._a.webp", "page.eps"):
        (tmp_path / name).touch()
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    assert find_images(tmp_path) == ["a.webp", "b/1.png", "b/c/2.JPG"]


def test_linked_folders_are_searched(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    assert find_images(tmp_path / "images") == ["linked/1.png"]


def test_a_folder_is_found_under_every_name_it_has(tmp_path: Path) -> None:
    origin, recon = folders(["a/1.png"], ["a/1.png"], tmp_path)
    for side in (origin, recon):
        (side / "b").symlink_to(side / "a")
        (side / "Z").symlink_to(side / "a")
    names = ["Z/1.png", "a/1.png", "b/1.png"]
    assert find_images(origin) == names
    assert [(pair.name, pair.problem) for pair in pair_files(origin, [recon])] == [(name, None) for name in names]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return what makes folders unreadable; permissions do not stop every user."""
    paths: set[str] = set()
    scan = os.scandir

    def scandir(path: str | Path) -> Any:
        if str(path) in paths:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda path: paths.add(str(path))


def test_folders_that_are_not_searched_are_named(tmp_path: Path, locked: Callable[[Path], None]) -> None:
    names = ["a/1.png", "b/2.png", "c/3.png"]
    origin, recon = folders(names, names, tmp_path)
    (origin / "a" / "up").symlink_to(origin)
    locked(origin / "b")
    locked(recon / "c")
    skipped: dict[str, str] = {}
    assert find_images(origin, skipped.__setitem__) == ["a/1.png", "c/3.png"]
    assert skipped == {
        "a/up": f"{origin / 'a' / 'up'} is not searched: it is a link to {origin}, which it lies in",
        "b": f"{origin / 'b'} cannot be searched: permission denied",
    }
    problems = {(pair.name, pair.origin, pair.recon): pair.problem for pair in pair_files(origin, [recon])}
    assert problems == {
        ("a/1.png", f"{origin}/a/1.png", f"{recon}/a/1.png"): None,
        ("c/3.png", f"{origin}/c/3.png", ""): f"no partner in {recon}",
        ("a/up", f"{origin}/a/up", ""): skipped["a/up"],
        ("b", f"{origin}/b", ""): skipped["b"],
        ("b/2.png", "", f"{recon}/b/2.png"): f"no partner in {origin}",
        ("c", "", f"{recon}/c"): f"{recon}/c cannot be searched: permission denied",
    }
    locked(recon)
    with pytest.raises(ValueError, match=r"holds no image that can be read; .*recon cannot be searched: permission"):
        pair_files(origin, [recon])


def folders(origin: list[str], recon: list[str], folder: Path) -> tuple[Path, Path]:
    for side, names in (("origin", origin), ("recon", recon)):
        (folder / side).mkdir()
        for name in names:
            (folder / side / name).parent.mkdir(exist_ok=True)
            (folder / side / name).touch()
    return folder / "origin", folder / "recon"


def test_images_pair_up_by_relative_path_without_extension(tmp_path: Path) -> None:
    origin, recon = folders(
        ["1.png", "x/1.png", "2.v1.png", "3.png"], ["1.jpg", "x/1.webp", "2.v1.jpg", "4.jpg"], tmp_path
    )
    assert pair_files(origin, [recon]) == [
        FilePair("1.png", str(origin / "1.png"), str(recon / "1.jpg"), str(recon)),
        FilePair("2.v1.png", str(origin / "2.v1.png"), str(recon / "2.v1.jpg"), str(recon)),
        FilePair("3.png", str(origin / "3.png"), "", str(recon), f"no partner in {recon}"),
        FilePair("x/1.png", str(origin / "x/1.png"), str(recon / "x/1.webp"), str(recon)),
        FilePair("4.jpg", "", str(recon / "4.jpg"), str(recon), f"no partner in {origin}"),
    ]


def test_the_same_extension_comes_first(tmp_path: Path) -> None:
    origin, recon = folders(["1.png", "1.jpg"], ["1.png", "1.webp"], tmp_path)
    assert [(pair.origin, pair.recon) for pair in pair_files(origin, [recon])] == [
        (str(origin / "1.jpg"), str(recon / "1.webp")),
        (str(origin / "1.png"), str(recon / "1.png")),
    ]


def test_no_partner_is_guessed_among_several(tmp_path: Path) -> None:
    origin, recon = folders(["1.png", "2.png"], ["1.jpg", "1.webp", "2.png"], tmp_path)
    problems = {pair.origin or pair.recon: pair.problem for pair in pair_files(origin, [recon])}
    ambiguous = "no single partner: several images are called 1"
    assert problems == {
        str(origin / "1.png"): ambiguous,
        str(recon / "1.jpg"): ambiguous,
        str(recon / "1.webp"): ambiguous,
        str(origin / "2.png"): None,
    }


def test_pairs_of_one_original_lie_side_by_side(tmp_path: Path) -> None:
    origin, recon = folders(["a.png", "b.png"], ["a.png", "b.png", "c.png"], tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.webp").touch()
    pairs = pair_files(origin, [recon, other])
    assert [(pair.name, pair.recon_folder, pair.problem) for pair in pairs] == [
        ("a.png", str(recon), None),
        ("a.png", str(other), f"no partner in {other}"),
        ("b.png", str(recon), None),
        ("b.png", str(other), None),
        ("c.png", str(recon), f"no partner in {origin}"),
    ]


NAMES = st.builds(
    "{}{}.{}".format, st.sampled_from(["", "x/"]), st.sampled_from("abc"), st.sampled_from(["png", "jpg", "gif"])
)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.sets(NAMES, min_size=1), st.sets(NAMES, min_size=1))
def test_every_image_is_in_one_pair_or_left_over_and_sides_may_be_exchanged(first: set[str], second: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        origin, recon = folders(sorted(first), sorted(second), Path(folder))
        try:
            there = pair_files(origin, [recon])
        except ValueError:
            # Nothing pairs up in this direction; then nothing does in the other one.
            with pytest.raises(ValueError, match="has a partner of the same name"):
                pair_files(recon, [origin])
            return
        back = pair_files(recon, [origin])
        placed = [path for pair in there for path in (pair.origin, pair.recon) if path]
        found = [str(side / name) for side in (origin, recon) for name in find_images(side)]
        assert sorted(placed) == sorted(found)
        assert {(pair.origin, pair.recon) for pair in there} == {(pair.recon, pair.origin) for pair in back}


def test_files_pair_up_whatever_they_are_called(tmp_path: Path) -> None:
    origin, recon = folders(["a.png"], ["b.jpg", "c.jpg"], tmp_path)
    assert pair_files(origin / "a.png", [recon / "b.jpg", recon / "c.jpg"]) == [
        FilePair("a.png", str(origin / "a.png"), str(recon / name), str(recon / name)) for name in ("b.jpg", "c.jpg")
    ]


def test_paths_that_make_no_pairs_are_refused(tmp_path: Path) -> None:
    origin, recon = folders(["a.png"], ["notes.txt"], tmp_path)
    with pytest.raises(ValueError, match="nowhere does not exist"):
        pair_files(origin, [tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"origin is a folder, but .*a\.png is a file"):
        pair_files(origin / "a.png", [origin])
    with pytest.raises(ValueError, match="recon holds no image"):
        pair_files(origin, [recon])
    with pytest.raises(ValueError, match="named twice"):
        pair_files(origin, [origin, origin])
    (recon / "b.png").touch()
    with pytest.raises(ValueError, match=r"no image in .*origin has a partner of the same name in .*recon"):
        pair_files(origin, [recon])


def test_a_list_of_pairs_is_read_from_beside_the_images(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("\ufefforigin,recon\na.png,b/a.png\n/c.png,../d.png\n", encoding="utf-8")
    assert read_pairs(path) == [
        FilePair("a.png", str(tmp_path / "a.png"), str(tmp_path / "b/a.png"), str(path)),
        FilePair("/c.png", "/c.png", str(tmp_path / "../d.png"), str(path)),
    ]
    path.write_text("name,recon,quality,origin,recon_folder\nA,1.png,5,2.png,bpg\n,3.png,6,4.png,\n")
    assert read_pairs(path) == [
        FilePair("A", str(tmp_path / "2.png"), str(tmp_path / "1.png"), "bpg"),
        FilePair("4.png", str(tmp_path / "4.png"), str(tmp_path / "3.png"), str(path)),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column 'origin'"),
        (b"origin,reconstruction\na,b\n", "has no column 'recon'"),
        (b"origin,recon\n", "lists no pair"),
        (b"origin,recon\na.png,b.png\nc.png\n", "line 3: `origin` and `recon` must be paths, got 'c.png' and None"),
        (b"origin,recon\n\xff,b\n", "no CSV file in UTF-8"),
        (None, "cannot be read: no such file"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(path)
