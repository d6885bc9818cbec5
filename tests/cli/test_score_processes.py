"""``sess score`` in processes of its own: killed at any moment, or several at once, it ends with the same file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import stub_command
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

ROOT = Path(__file__).parents[2]
# One process imports everything, and its children begin from there.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["stub_command"])


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Return a command for eighty pairs, one of them broken."""
    folders = [tmp_path / name for name in ("origin", "one", "two")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        for index, image in enumerate(stub_images(40, seed)):
            to_pil_image(image).save(folder / f"{index:02}.png")
    (folders[2] / "17.png").write_text("no image")
    return ["score", *map(str, folders), "--batch-size", "4", "--device", "cpu", "--out"]


def start(*arguments: str | Path) -> ForkServerProcess:
    process = SERVER.Process(target=stub_command.run, args=tuple(map(str, arguments)))
    process.start()
    return process


def run(*arguments: str | Path) -> int | None:
    process = start(*arguments)
    process.join()
    return process.exitcode


def run_program(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python; processes that it starts, and leaves behind, are waited for."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )


def pairs_in(path: Path) -> int:
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def test_a_killed_run_ends_with_the_same_file(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    assert run(*arguments, whole) == 1
    assert pairs_in(whole) == 80
    monkeypatch.setenv("STUB_SECONDS", "0.1")
    for pairs in (8, 40):
        process = start(*arguments, out)
        while pairs_in(out) < pairs:
            assert process.is_alive()
            time.sleep(0.01)
        process.kill()
        process.join()
        assert pairs <= pairs_in(out) < 80
    monkeypatch.setenv("STUB_SECONDS", "0")
    assert run(*arguments, out) == 1
    assert out.read_bytes() == whole.read_bytes()


def test_two_processes_end_with_the_file_of_one(arguments: list[str], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    assert run(*arguments, whole) == 1
    lines = whole.read_bytes().splitlines(keepends=True)
    # Something is there already, and an odd number of batches is left.
    out.write_bytes(b"".join(lines[:14])[:-5])
    result = run_program(stub_command.__file__, *arguments, out, "--devices", "2")
    assert (result.returncode, result.stderr) == (
        1,
        "sess: 12 of 80 pairs are there already; going on with the others\n",
    )
    assert out.read_bytes() == whole.read_bytes()
    assert result.stdout.count("not scored: 1\n") == 1


@pytest.mark.parametrize("victim", ["0", "1"])
def test_a_process_that_dies_ends_the_others_and_the_same_command_goes_on(
    victim: str, arguments: list[str], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    assert run(*arguments, whole) == 1
    result = run_program(stub_command.__file__, *arguments, out, "--devices", "2", STUB_VICTIM=victim)
    if victim == "1":
        assert (result.returncode, result.stderr) == (
            2,
            "sess: another process of this run has ended before its time; the same command goes on from here\n",
        )
    else:
        # Whoever is killed says nothing, and nor do those that it talks for.
        assert (result.returncode, result.stderr) == (-signal.SIGKILL, "")
    assert result.stdout == ""
    assert 0 < pairs_in(out) < 80
    assert run(*arguments, out) == 1
    assert out.read_bytes() == whole.read_bytes()


def test_processes_of_torchrun_end_with_the_file_of_one(arguments: list[str], tmp_path: Path) -> None:
    command, origin, one, _, *options = arguments
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    assert run(command, origin, one, *options, whole) == 0
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    scoring = [stub_command.__file__, command, origin, one, *options, str(out), "--devices", "2"]
    result = run_program(*launcher, *scoring)
    assert result.returncode == 0, result.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert result.stdout.count("95 % interval") == 1
