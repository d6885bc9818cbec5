"""Commands in processes of their own: killed at any moment, or several at once, they end with the same files."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stub_command
import torch
from fork_server import start, start_module
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess.cli import processes
from torchmetrics_sess.cli.output import Refusal
from torchmetrics_sess.cli.processes import Processes, launch

ROOT = Path(__file__).parents[2]
STEPS = itertools.count()
DIED = "sess: another process of this run has ended before its time; the same command goes on from here\n"


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


def run(*arguments: str | Path) -> int | None:
    process = start(stub_command.run, *map(str, arguments))
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


def test_a_killed_run_ends_with_the_same_file(arguments: list[str], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    assert run(*arguments, whole) == 1
    assert pairs_in(whole) == 80
    for pairs in (8, 40):
        process = start(stub_command.run, *arguments, str(out), STUB_SECONDS="0.1")
        while pairs_in(out) < pairs:
            assert process.is_alive()
            time.sleep(0.01)
        process.kill()
        process.join()
        assert pairs <= pairs_in(out) < 80
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
    threads = tmp_path / "threads.txt"
    result = run_program(
        stub_command.__file__, *arguments, out, "--devices", "2", STUB_VICTIM=victim, STUB_THREADS=str(threads)
    )
    # A thread that lets go of a tensor while Python ends would abort the program.
    assert "gloo" not in threads.read_text()
    if victim == "1":
        assert (result.returncode, result.stderr) == (
            2,
            DIED,
        )
    else:
        # Whoever is killed says nothing, and nor do those that it talks for.
        assert (result.returncode, result.stderr) == (-signal.SIGKILL, "")
    assert result.stdout == ""
    assert 0 < pairs_in(out) < 80
    assert run(*arguments, out) == 1
    assert out.read_bytes() == whole.read_bytes()


def test_processes_of_torchrun_end_with_the_file_of_one(arguments: list[str], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    assert run(*arguments, whole) == 1
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--redirects", "3"]
    for attempt, victim in enumerate(("1", "nobody")):
        logs = tmp_path / f"logs{attempt}"
        command = [*launcher, "--log-dir", str(logs), stub_command.__file__, *arguments, str(out)]
        # What torchrun itself has to say about an exit code is its own affair.
        torchrun = start_module(tmp_path / "log.txt", *command, STUB_VICTIM=victim, PYTHONPATH=str(ROOT))
        torchrun.join()
        assert torchrun.exitcode == 1
        # After a process has been killed, torchrun may end the first one before it can speak.
        assert "Traceback" not in "".join(path.read_text() for path in logs.rglob("*.log"))
        assert 0 < pairs_in(out) < 80 or victim == "nobody"
    assert out.read_bytes() == whole.read_bytes()
    [said] = [text for path in logs.rglob("stdout.log") if (text := path.read_text())]
    assert said.count("not scored: 1\n") == 1
    [noted] = [text for path in logs.rglob("stderr.log") if (text := path.read_text())]
    assert noted.endswith("of 80 pairs are there already; going on with the others\n")


def run_tasks(count: int, logs: Path, *arguments: str | Path, **environment: str) -> list[int | None]:
    """Run a command as srun would, as so many tasks of one step, each on another machine; return their exit codes."""
    logs.mkdir()
    step = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": str(next(STEPS)),
        "SLURM_NTASKS": str(count),
        "SLURM_NNODES": str(count),
        "SLURM_NODELIST": f"127.0.0.[1-{count}]",
    }
    tasks = []
    for rank in range(count):
        task = {**step, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0", **environment}
        tasks.append(start(stub_command.run_task, str(logs / str(rank)), *map(str, arguments), **task))
    for process in tasks:
        process.join()
    return [process.exitcode for process in tasks]


def contents(path: Path) -> dict[str, bytes]:
    """Return every file of a folder, or the one file there is."""
    return {str(file.relative_to(path)): file.read_bytes() for file in [path, *path.rglob("*")] if file.is_file()}


@pytest.mark.parametrize(("command", "victim", "count"), [("score", "0", 3), ("compare", "1", 1), ("extract", "1", 3)])
def test_killed_tasks_of_slurm_end_with_the_files_of_one(
    command: str, victim: str, count: int, arguments: list[str], tmp_path: Path
) -> None:
    _, origin, one, two, *options = arguments
    given = [command, two, *options] if command == "extract" else [command, origin, one, two, *options]
    if command == "compare":
        given.insert(1, "--metrics=psnr")
    name = "graphs" if command == "extract" else "results.csv"
    for folder in ("of-one", "of-many"):
        (tmp_path / folder).mkdir()
    whole, out = tmp_path / "of-one" / name, tmp_path / "of-many" / name
    assert run(*given, whole) == 1

    codes = run_tasks(2, tmp_path / "logs-killed", *given, out, STUB_VICTIM=victim)
    said = {path.name: path.read_text() for path in (tmp_path / "logs-killed").iterdir()}
    # Whoever is killed says nothing, and nor do those that it talks for.
    assert codes == ([-signal.SIGKILL, 2] if victim == "0" else [2, -signal.SIGKILL])
    assert said.pop("0.err").endswith(DIED if victim == "1" else "")
    assert said == {"0.out": "", "1.out": "", "1.err": ""}

    assert run_tasks(count, tmp_path / "logs-again", *given, out) == [1, *[0] * (count - 1)]
    assert contents(out) == contents(whole)
    said = {path.name: path.read_text() for path in (tmp_path / "logs-again").iterdir()}
    assert "SeSS|preset:stub" in said.pop("0.out")
    assert "are there already; going on with the others\n" in said.pop("0.err")
    assert set(said.values()) <= {""}


def test_what_one_task_cannot_do_the_first_one_says(arguments: list[str], tmp_path: Path) -> None:
    codes = run_tasks(2, tmp_path / "logs", *arguments, tmp_path / "out.csv", STUB_REFUSES="1")
    assert codes == [2, 2]
    assert (tmp_path / "logs" / "1.err").read_text() == ""
    reason = (tmp_path / "logs" / "0.err").read_text()
    assert reason.startswith("sess: process 1, on ")
    assert reason.endswith(": not here\n")
    codes = run_tasks(2, tmp_path / "logs-of-arguments", *arguments, tmp_path / "out.pdf")
    said = {path.name: path.read_text() for path in (tmp_path / "logs-of-arguments").iterdir()}
    assert codes == [2, 2]
    assert said.pop("0.err").startswith("sess: results are written as .csv or .json")
    assert set(said.values()) == {""}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"},
        {"SLURM_NTASKS": "4"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "4"},
    ],
)
def test_a_process_of_its_own_stays_so(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert launch(torch.device("cpu"), 1) == Processes(0, 1, torch.device("cpu"))


def test_more_devices_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    with pytest.raises(Refusal):
        launch(torch.device("cuda"), 3)
    assert capsys.readouterr().err == "sess: --devices 3 is more than there are: 2 of kind cuda\n"


def test_a_process_that_cannot_begin_ends_the_run(arguments: list[str], tmp_path: Path) -> None:
    result = run_program(stub_command.__file__, *arguments, tmp_path / "out.csv", "--devices", "3", STUB_BEGINS="0 1")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == DIED


@pytest.mark.parametrize(
    ("variables", "options", "reason"),
    [
        ({}, [], "not all 2 processes of Slurm have met at tcp://127.0.0.1:"),
        ({"SLURM_PROCID": "one"}, [], "the environment variable SLURM_PROCID must be a number, got 'one'"),
        ({"MASTER_PORT": "99999"}, [], "not all 2 processes of Slurm have met at tcp://127.0.0.1:99999"),
        ({}, ["--devices", "4"], "Slurm has started 2 processes; leave --devices 4 out"),
        ({}, ["--device", "cpu:0"], "pass --device cpu, got cpu:0"),
    ],
)
def test_a_launcher_that_is_misunderstood_is_one_line(
    variables: dict[str, str],
    options: list[str],
    reason: str,
    sess: Callable[..., Any],
    image_folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_MEETING", timedelta(seconds=1))
    for variable, value in (
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_ID": str(os.getpid())} | variables
    ).items():
        monkeypatch.setenv(variable, value)
    result = sess("score", *image_folders, "--device", "cpu", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("sess: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
