"""``sess curve`` in processes of its own: killed twice, it ends with the same files, and no encoder outlives it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import stub_command
from fork_server import start
from PIL import Image
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess.curves import commands


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


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def an_encoder(folder: Path) -> str:
    """Return the path of an encoder that a shell waits for, and leaves its number in a file named by its quality."""
    (folder / "pids").mkdir()
    script = folder / "enc.sh"
    script.write_text(f"sleep 600 & echo $! > {folder}/part$3; mv {folder}/part$3 {folder}/pids/$3; wait")
    return str(script)


def encoders(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in (folder / "pids").iterdir()]


def run_in_front(*arguments: str) -> None:
    """Run a command that Ctrl-C reaches, also where these tests run in the background of a script."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stub_command.run(*arguments)


def test_an_interruption_ends_encoders(tmp_path: Path) -> None:
    (tmp_path / "originals").mkdir()
    to_pil_image(stub_images(1)[0]).save(tmp_path / "originals" / "0.png")
    codec = f"slow:1,2=sh {an_encoder(tmp_path)} {{in}} {{bits}} {{q}}; cp {{bits}} {{out}}"
    arguments = ["curve", str(tmp_path / "originals"), "--codec", codec, "--metrics", "psnr", "--device", "cpu"]
    process = start(run_in_front, *arguments, "--workers", "2", "--out", str(tmp_path / "out"))
    wait_until(lambda: len(encoders(tmp_path)) == 2)
    assert all(map(is_there, encoders(tmp_path)))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(45)
    assert process.exitcode == 130
    wait_until(lambda: not any(map(is_there, encoders(tmp_path))))


def kill_yourself(script: str, folder: str) -> None:
    """End at once, as by ``kill -9``, while a program runs that a thread has started."""
    # As in the background of a script.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with commands.ending_commands():
        threading.Thread(target=commands.run_command, args=(["sh", script, "", "", "1"], 600.0)).start()
        # Then the guard knows of it.
        wait_until(lambda: len(commands._running.processes) == 1 and len(encoders(Path(folder))) == 1)
        os.kill(os.getpid(), signal.SIGKILL)


def test_no_encoder_outlives_a_killed_run(tmp_path: Path) -> None:
    process = start(kill_yourself, an_encoder(tmp_path), str(tmp_path))
    process.join(90)
    assert process.exitcode == -signal.SIGKILL
    [encoder] = encoders(tmp_path)
    wait_until(lambda: not is_there(encoder))
