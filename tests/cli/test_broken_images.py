"""What ``sess score`` makes of odd and broken files: a score, or one line that says why there is none."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

Sess = Callable[..., Any]


def truncated_jpeg(path: Path, image: Image.Image) -> None:
    image.resize((64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def no_bytes(path: Path, image: Image.Image) -> None:
    path.touch()


def renamed_text(path: Path, image: Image.Image) -> None:
    path.write_text("Dear reader, this is no image.\n")


def missing(path: Path, image: Image.Image) -> None:
    pass


def dangling_link(path: Path, image: Image.Image) -> None:
    path.symlink_to(path.with_name("nowhere.png"))


def locked(path: Path, image: Image.Image) -> None:
    image.save(path)
    path.chmod(0)


def folder(path: Path, image: Image.Image) -> None:
    path.mkdir()


def palette_with_alpha(path: Path, image: Image.Image) -> None:
    # The last colour, which no pixel has, is the transparent one: the picture is the same.
    image.quantize(200).save(path, transparency=255)


def cmyk_jpeg(path: Path, image: Image.Image) -> None:
    image.convert("CMYK").save(path, quality=100, subsampling=0)


def sixteen_bits(path: Path, image: Image.Image) -> None:
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)


def animated_gif(path: Path, image: Image.Image) -> None:
    image.save(path, save_all=True, append_images=[Image.new("RGB", image.size, "red")] * 3)


def another_size(path: Path, image: Image.Image) -> None:
    image.resize((image.width * 3, image.height * 2), Image.Resampling.NEAREST).save(path)


SCORED = {
    "palette.png": palette_with_alpha,
    "cmyk.jpg": cmyk_jpeg,
    "sixteen.png": sixteen_bits,
    "animated.gif": animated_gif,
    "another-size.png": another_size,
}
NOT_SCORED = {
    "truncated.jpg": (truncated_jpeg, "{path} cannot be read: image file is truncated"),
    "no-bytes.png": (no_bytes, "{path} cannot be read: the file is empty"),
    "text.png": (renamed_text, "{path} cannot be read: it is no image that Pillow knows"),
    "missing.png": (missing, "no partner in "),
    "link.png": (dangling_link, "{path} cannot be read: no such file or directory"),
    "folder.png": (folder, "no partner in "),
}


@pytest.fixture
def images() -> dict[str, Image.Image]:
    names = [*SCORED, *NOT_SCORED, "locked.png"]
    # 16 bits have no colours.
    pictures = {name: to_pil_image(image) for name, image in zip(names, stub_images(len(names)), strict=True)}
    return pictures | {"sixteen.png": pictures["sixteen.png"].convert("L")}


def score(sess: Sess, folder: Path) -> tuple[Any, dict[str, dict[str, str]]]:
    result = sess("score", folder / "origin", folder / "recon", "--out", folder / "scores.csv", "--batch-size", 3)
    with (folder / "scores.csv").open(newline="") as file:
        return result, {row["name"]: row for row in csv.DictReader(file)}


@pytest.mark.usefixtures("stub_networks")
@pytest.mark.parametrize("side", ["origin", "recon"])
def test_every_kind_gives_a_score_or_a_reason(
    side: str, sess: Sess, images: dict[str, Image.Image], tmp_path: Path
) -> None:
    other = "recon" if side == "origin" else "origin"
    for folder in (side, other):
        (tmp_path / folder).mkdir()
    makers = SCORED | {name: maker for name, (maker, _) in NOT_SCORED.items()} | {"locked.png": locked}
    for name, maker in makers.items():
        # The other side holds the same picture as it should be.
        images[name].save((tmp_path / other / name).with_suffix(".png"))
        maker(tmp_path / side / name, images[name])
    result, rows = score(sess, tmp_path)
    assert result.exit_code == 1
    by_stem = {name.partition(".")[0]: row for name, row in rows.items()}
    assert len(by_stem) == len(rows) == len(makers)

    for name in SCORED:
        row = by_stem[name.partition(".")[0]]
        assert (name, row["status"]) == (name, "ok")
        # Colours that came through JPEG or a palette are not quite the same.
        assert float(row["score"]) > 0.9, name
    for name, (_, reason) in NOT_SCORED.items():
        row = by_stem[name.partition(".")[0]]
        assert row["score"] == ""
        assert row["status"].startswith(reason.format(path=tmp_path / side / name))
        assert row["status"] in result.stdout
    # The superuser reads what others may not.
    readable = os.access(tmp_path / side / "locked.png", os.R_OK)
    reason = "ok" if readable else f"{tmp_path / side / 'locked.png'} cannot be read: permission denied"
    assert by_stem["locked"]["status"] == reason
    assert f"not scored: {len(NOT_SCORED) + (not readable)}\n" in result.stdout
    assert result.stderr.count("differ in size") == 1
    assert result.stderr.count("\n") == 1


def test_extreme_sizes_are_scored_by_the_real_networks(sess: Sess, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for side in ("origin", "recon"):
        (tmp_path / side).mkdir()
    for name, size in {"pixel.png": (1, 1), "long.png": (20000, 20), "tall.png": (20, 20000)}.items():
        image = Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        image.save(tmp_path / "origin" / name)
        image.save(tmp_path / "recon" / name)
    Image.new("RGB", (20000, 20)).save(tmp_path / "origin" / "other.png")
    Image.new("RGB", (1, 1), "white").save(tmp_path / "recon" / "other.png")
    result, rows = score(sess, tmp_path)
    assert result.exit_code == 0
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(rows, "ok")
    for name in ("pixel.png", "long.png", "tall.png"):
        assert float(rows[name]["score"]) == pytest.approx(1, abs=1e-4)
    # Black against white: there is nothing in either, and the score of lite hardly tells them apart.
    assert 0 <= float(rows["other.png"]["score"]) < 0.99
