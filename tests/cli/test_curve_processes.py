"""``sess curve`` in processes of its own: killed twice, it ends with the same files, and no encoder outlives it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
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


def is_there(process: int) -> bool:
    try:
        # Whoever has ended and is not waited for yet has no arguments any more.
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_encoders_end_with_the_run(number: signal.Signals, status: int, tmp_path: Path) -> None:
    (tmp_path / "originals").mkdir()
    to_pil_image(stub_images(1)[0]).save(tmp_path / "originals" / "0.png")
    (tmp_path / "pids").mkdir()
    # An encoder that a shell waits for.
    script = tmp_path / "enc.sh"
    script.write_text(f"sleep 50 & echo $! > {tmp_path}/part$3; mv {tmp_path}/part$3 {tmp_path}/pids/$3; wait")
    codec = f"slow:1,2=sh {script} {{in}} {{bits}} {{q}}; cp {{bits}} {{out}}"
    arguments = ["curve", str(tmp_path / "originals"), "--codec", codec, "--metrics", "psnr", "--device", "cpu"]
    process = start(stub_command.run, *arguments, "--workers", "2", "--out", str(tmp_path / "out"))
    while len(list((tmp_path / "pids").iterdir())) < 2:
        assert process.is_alive()
        time.sleep(0.01)
    encoders = [int(path.read_text()) for path in (tmp_path / "pids").iterdir()]
    assert all(map(is_there, encoders))
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(20)
    assert process.exitcode == status
    deadline = time.monotonic() + 10
    while any(map(is_there, encoders)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
