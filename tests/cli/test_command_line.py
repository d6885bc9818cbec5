"""``sess`` as a program of its own: quick to answer, and at ease with what the shell hands it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_command
import typer
from fork_server import start
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess import __version__
from torchmetrics_sess.cli import app, main
from torchmetrics_sess.cli.output import Interruption

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **environment},
    )


def test_the_version_is_told() -> None:
    result = run("-m", "torchmetrics_sess.cli", "--version")
    assert (result.returncode, result.stdout.decode()) == (0, f"torchmetrics-sess {__version__}\n")


def test_help_needs_no_networks() -> None:
    code = """
import sys
import warnings
from torchmetrics_sess.cli import app, main
from torchmetrics_sess.cli.output import Interruption
for arguments in (["--help"], ["score", "--help"], ["--version"]):
    try:
        app(arguments)
    except SystemExit as end:
        assert not end.code
heavy = {"torch", "torchmetrics", "PIL", "numpy", "transformers"} & sys.modules.keys()
assert not heavy, heavy
"""
    result = run("-c", code)
    assert result.returncode == 0, result.stderr.decode()
    assert b"sess score photo.png photo.jpg" in result.stdout


def test_a_command_that_does_not_exist_is_a_mistake_of_usage() -> None:
    result = run("-m", "torchmetrics_sess.cli", "scroe")
    assert result.returncode == 2
    assert b"scroe" in result.stderr


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Interruption])
def test_ctrl_c_is_said_once(
    interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted = typer.Typer()

    @interrupted.command()
    def wait() -> None:
        raise interruption

    monkeypatch.setitem(vars(sys.modules["torchmetrics_sess.cli.app"]), "app", interrupted)
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)
    monkeypatch.setattr("sys.argv", ["sess"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == ("sess: interrupted\n" if interruption is KeyboardInterrupt else "")


def test_what_this_package_warns_of_is_one_line(tmp_path: Path) -> None:
    image, graphs = tmp_path / "image.png", tmp_path / "graphs"
    to_pil_image(stub_images(1)[0]).save(image)
    options = ["--cache", str(graphs), "--cache-size", "0.0001"]
    process = start(stub_command.run_task, str(tmp_path / "said"), "score", str(image), str(image), *options)
    process.join()
    assert process.exitcode == 0
    said = (tmp_path / "said.err").read_text()
    assert said.startswith(f"sess: the cache of target graphs in {graphs} is full at ")
    assert said.count("\n") == 1


def test_a_name_that_is_no_text_does_not_end_the_run(tmp_path: Path) -> None:
    for side in ("origin", "recon"):
        (tmp_path / side).mkdir()
        (tmp_path / side / os.fsdecode(b"caf\xe9.png")).touch()
    result = run("-m", "torchmetrics_sess.cli", "score", str(tmp_path / "origin"), str(tmp_path / "recon"))
    assert result.returncode == 1, result.stderr.decode()
    assert rb"caf\udce9.png" in result.stdout
    assert b"the file is empty" in result.stdout
    assert result.stderr == b""


def commands(group: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*name, word))
        else:
            yield (*name, word), command


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", ALL, ids=" ".join)
def test_every_example_has_a_line_of_its_own(
    name: tuple[str, ...], sess: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = [line.strip() for line in sess(*name, "--help").stdout.splitlines()]
    examples = [line.strip() for line in inspect.cleandoc(ALL[name].help).splitlines() if line.startswith("    ")]
    assert [example for example in examples if example not in lines] == []
    assert examples or not any(parameter.param_type_name == "argument" for parameter in ALL[name].params)
