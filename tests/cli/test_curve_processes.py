"""``sess curve`` in processes of its own: killed twice, it ends with the same files."""

from __future__ import annotations

import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import stub_command
from fork_server import SERVER
from PIL import Image
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image


def start(*arguments: str | Path) -> ForkServerProcess:
    process = SERVER.Process(target=stub_command.run, args=tuple(map(str, arguments)))
    process.start()
    return process


def pairs_in(path: Path) -> int:
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def test_a_killed_run_ends_with_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = tmp_path / "originals"
    origin.mkdir()
    for index, image in enumerate(stub_images(8, size=(4, 6))):
        to_pil_image(image).resize((48, 32), Image.Resampling.BICUBIC).save(origin / f"{index}.png")
    arguments: list[str | Path] = [
        "curve",
        origin,
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
    monkeypatch.setenv("STUB_NO_FIGURES", "1")
    process = start(*arguments, tmp_path / "whole")
    process.join()
    assert process.exitcode == 0
    monkeypatch.setenv("STUB_SECONDS", "0.2")
    found = tmp_path / "killed" / "results.csv"
    for pairs in (12, 48):
        process = start(*arguments, tmp_path / "killed")
        while pairs_in(found) < pairs:
            assert process.is_alive()
            time.sleep(0.01)
        process.kill()
        process.join()
        assert pairs <= pairs_in(found) < 96
    monkeypatch.setenv("STUB_SECONDS", "0")
    process = start(*arguments, tmp_path / "killed")
    process.join()
    assert process.exitcode == 0
    for name in ("results.csv", "points.csv", "deltas.csv"):
        whole, killed = ((tmp_path / folder / name).read_text() for folder in ("whole", "killed"))
        assert killed.replace("/killed/", "/whole/") == whole, name
