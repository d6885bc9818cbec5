"""``sess curve`` in processes of its own: killed twice, it ends with the same files."""

from __future__ import annotations

import time
from pathlib import Path

import stub_command
from fork_server import start
from PIL import Image
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image


def pairs_in(path: Path) -> int:
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def test_a_killed_run_ends_with_the_same_files(tmp_path: Path) -> None:
    origin = tmp_path / "originals"
    origin.mkdir()
    for index, image in enumerate(stub_images(8, size=(4, 6))):
        to_pil_image(image).resize((48, 32), Image.Resampling.BICUBIC).save(origin / f"{index}.png")
    arguments = [
        "curve",
        str(origin),
        "--codec",
        "jpeg",
        "--points",
        "12",
        "--metrics",
        "psnr",
        "--pictures",
        "0",
    ]
    arguments += ["--device", "cpu", "--out"]
    process = start(stub_command.run, *arguments, str(tmp_path / "whole"), STUB_NO_FIGURES="1")
    process.join()
    assert process.exitcode == 0
    found = tmp_path / "killed" / "results.csv"
    for pairs in (12, 48):
        killed = str(tmp_path / "killed")
        process = start(stub_command.run, *arguments, killed, STUB_NO_FIGURES="1", STUB_SECONDS="0.2")
        while pairs_in(found) < pairs:
            assert process.is_alive()
            time.sleep(0.01)
        process.kill()
        process.join()
        assert pairs <= pairs_in(found) < 96
    process = start(stub_command.run, *arguments, str(tmp_path / "killed"), STUB_NO_FIGURES="1")
    process.join()
    assert process.exitcode == 0
    for name in ("results.csv", "points.csv", "deltas.csv"):
        whole, killed = ((tmp_path / folder / name).read_text() for folder in ("whole", "killed"))
        assert killed.replace("/killed/", "/whole/") == whole, name
