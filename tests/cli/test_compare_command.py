"""``sess compare``: the numbers of the metrics, in a table and in a file; what is missing is named and left out."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from stub_extractor import stub_images, stub_preset
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess import comparison, semantic_similarity_score
from torchmetrics_sess.comparison import METRICS, image_metrics
from torchmetrics_sess.images import read_image
from torchmetrics_sess.results import read_results

Sess = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("stub_networks", "no_other_weights")


@pytest.fixture
def no_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all weights but the stub's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    reason = "its weights are not on this machine"
    for name in ("clip", "vitscore", "embedding"):
        monkeypatch.setitem(METRICS, name, dataclasses.replace(METRICS[name], missing=lambda preset: reason))


@pytest.fixture
def codecs(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return a folder of five originals, and two folders of what two codecs make of them."""
    images = stub_images(6, size=(16, 12))
    for name in ("origin", "good", "bad"):
        (tmp_path / name).mkdir()
    for index in range(5):
        to_pil_image(images[index]).save(tmp_path / "origin" / f"{index}.png")
        to_pil_image(images[index].lerp(images[5], 0.05 * index)).save(tmp_path / "good" / f"{index}.png")
        to_pil_image(images[index].lerp(images[5], 0.1 + 0.17 * index)).save(tmp_path / "bad" / f"{index}.png")
    return tmp_path / "origin", tmp_path / "good", tmp_path / "bad"


def columns_of(origin: Path, recon: Path) -> dict[str, list[float]]:
    """Return what the metrics themselves say of two folders."""
    names = sorted(path.name for path in recon.iterdir())
    preds, target = [read_image(recon / name) for name in names], [read_image(origin / name) for name in names]
    columns = {name: metric(preds, target) for name, metric in image_metrics(["psnr", "ssim"]).items()}
    return {"score": semantic_similarity_score(preds, target, stub_preset(), reduction="none").tolist(), **columns}


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_means_and_rank_correlations_are_printed(sess: Sess, codecs: tuple[Path, Path, Path]) -> None:
    origin, good, bad = codecs
    result = sess("compare", origin, good, bad, "--metrics", "psnr,ssim")
    assert result.exit_code == 0
    assert result.stderr == ""
    found = {folder: columns_of(origin, folder) for folder in (good, bad)}
    lines = words(result.stdout)
    assert lines[0] == ["mean", "pairs", "SeSS", "PSNR", "SSIM"]
    text = "".join(result.stdout.split())
    for folder, columns in found.items():
        score, psnr, ssim = (sum(column) / 5 for column in columns.values())
        assert "5" + f"{score:.3f}" + (f"{psnr:.2f}" if math.isfinite(psnr) else "inf") + f"{ssim:.3f}" in text, folder
    pooled = {name: found[good][name] + found[bad][name] for name in ("score", "psnr", "ssim")}
    expected = [
        spearmanr(pooled[a], pooled[b]).statistic for a, b in (("psnr", "score"), ("ssim", "score"), ("ssim", "psnr"))
    ]
    assert ["PSNR", f"{expected[0]:.3f}"] in lines
    assert ["SSIM", f"{expected[1]:.3f}", f"{expected[2]:.3f}"] in lines
    assert lines[-1] == [stub_preset().signature()]


def test_a_narrow_terminal_loses_no_value(
    sess: Sess, codecs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("compare", "origin", "good", "bad", "--metrics", "psnr,ssim")
    monkeypatch.setenv("COLUMNS", "80")
    wide = words(sess(*command).stdout)[:4]
    monkeypatch.setenv("COLUMNS", "36")
    narrow = words(sess(*command).stdout)[:6]
    assert wide[0] == ["mean", "pairs", "SeSS", "PSNR", "SSIM"]
    assert narrow[0] == ["mean", "good", "bad"]
    # Without the line below the header, one is the other turned.
    assert [list(column) for column in zip(wide[0], *wide[2:], strict=True)] == [narrow[0], *narrow[2:]]


def test_a_file_holds_every_value(sess: Sess, codecs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    origin, good, bad = codecs
    path = tmp_path / "compared.csv"
    assert sess("compare", origin, good, bad, "--metrics", "psnr,sess,ssim", "--out", path).exit_code == 0
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-4:] == ["status", "signature", "psnr", "ssim"]
    for folder in (good, bad):
        columns = columns_of(origin, folder)
        written = [row for row in rows if row["recon_folder"] == str(folder)]
        for name, column in columns.items():
            assert [float(row[name]) for row in written] == pytest.approx(column, abs=1e-5), name
    assert {name for row in read_results(path).rows for name in row.metrics} == {"psnr", "ssim"}


def test_the_same_command_goes_on_where_it_was_cut_off(
    sess: Sess, codecs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "compared.csv"
    command = ("compare", *codecs, "--metrics", "psnr,ssim", "--out", path, "--batch-size", 2)
    first = sess(*command)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:6]) + b"half a line")
    again = sess(*command)
    assert path.read_bytes() == whole
    assert again.stdout == first.stdout
    assert "going on with the others" in again.stderr
    finished = sess(*command)
    assert finished.stdout == first.stdout
    assert "nothing is left to do" in finished.stderr
    other = sess("compare", *codecs, "--metrics", "psnr", "--out", path)
    assert other.exit_code == 2
    assert "--overwrite" in other.stderr


def test_a_finished_json_prints_the_same_again(sess: Sess, codecs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    command = ("compare", *codecs, "--metrics", "psnr,ssim", "--out", tmp_path / "compared.json")
    first, again = sess(*command), sess(*command)
    assert "nothing is left to do" in again.stderr
    assert again.stdout == first.stdout


def test_json_holds_the_means_too(sess: Sess, codecs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    origin, good, _ = codecs
    path = tmp_path / "compared.json"
    assert sess("compare", origin, good, "--metrics", "psnr,ssim", "--out", path).exit_code == 0
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    columns = columns_of(origin, good)
    [folder] = content["summary"]
    # The first reconstruction equals its original, so that its PSNR is infinite: a text, as JSON knows no such number.
    assert columns["psnr"][0] == math.inf
    assert folder["metrics"] == {"psnr": "inf", "ssim": pytest.approx(sum(columns["ssim"]) / 5, abs=1e-5)}
    assert content["pairs"][0]["psnr"] == "inf"


def test_pairs_that_a_metric_cannot_compare_have_no_value(
    sess: Sess, codecs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    origin, _, bad = codecs
    to_pil_image(torch.rand(3, 20, 12)).save(bad / "1.png")
    path = tmp_path / "compared.csv"
    result = sess("compare", origin, bad, "--metrics", "psnr,ssim,ms_ssim", "--out", path)
    assert result.exit_code == 0
    assert "sizes differ or are too small: PSNR for 1, SSIM for 1, MS-SSIM for 5 of the pairs" in result.stdout
    lines = words(result.stdout)
    assert ["MS-SSIM", "-", "-", "-"] in lines
    [row] = [row for row in read_results(path).rows if row.pair.name == "1.png"]
    assert row.score is not None
    assert row.metrics == {}
    again = sess("compare", origin, bad, "--metrics", "psnr,ssim,ms_ssim", "--out", path)
    assert again.stdout == result.stdout


def test_two_files_give_a_line(sess: Sess, codecs: tuple[Path, Path, Path]) -> None:
    origin, good, _ = codecs
    result = sess("compare", origin / "1.png", good / "1.png", "--metrics", "psnr")
    assert result.exit_code == 0
    assert "rank correlation" not in result.stdout
    assert words(result.stdout)[0] == ["mean", "pairs", "SeSS", "PSNR"]


def test_metrics_without_weights_are_named_and_left_out(sess: Sess, codecs: tuple[Path, Path, Path]) -> None:
    origin, good, _ = codecs
    result = sess("compare", origin, good)
    assert result.exit_code == 0
    assert words(result.stdout)[0] == ["mean", "pairs", "SeSS", "PSNR", "SSIM", "MS-SSIM"]
    notes = result.stderr.splitlines()
    assert [note.split(" is left out: ")[0] for note in notes[:-1]] == [
        "sess: lpips",
        "sess: dists",
        "sess: clip",
        "sess: vitscore",
    ]
    assert notes[-1] == "sess: weights of metrics that are named in --metrics are fetched"
    named = sess("compare", origin, good, "--metrics", "psnr,lpips")
    assert named.exit_code == 0
    assert words(named.stdout)[0] == ["mean", "pairs", "SeSS", "PSNR"]
    assert "sess: lpips is left out: " in named.stderr
    assert "SESS_OFFLINE=1 forbids the download" in named.stderr


def test_a_distance_is_turned_before_ranks_are_compared(
    sess: Sess, codecs: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(preds: list[Tensor], target: list[Tensor]) -> list[float]:
        return [float((a - b).square().mean()) for a, b in zip(preds, target, strict=True)]

    stand_in = dataclasses.replace(METRICS["lpips"], build=lambda context: error, smallest=1)
    monkeypatch.setitem(comparison.METRICS, "lpips", stand_in)
    result = sess("compare", *codecs, "--metrics", "psnr,lpips")
    assert "lower is better: LPIPS" in result.stdout
    assert "the sign of LPIPS is turned" in result.stdout
    [line] = [line for line in words(result.stdout) if line[:1] == ["LPIPS"]]
    # PSNR is the logarithm of the mean squared error.
    assert line[-1] == "1.000"


def test_what_cannot_be_compared_is_named(sess: Sess, codecs: tuple[Path, Path, Path]) -> None:
    origin, good, _ = codecs
    (good / "0.png").write_bytes(b"")
    (good / "1.png").unlink()
    result = sess("compare", origin, good, "--metrics", "psnr")
    assert result.exit_code == 1
    assert "not scored: 2" in result.stdout
    assert f"{good / '0.png'} cannot be read: the file is empty" in result.stdout
    assert f"no partner in {good}" in result.stdout
    # Below the header and its line, the row of the only folder.
    assert words(result.stdout)[2][1] == "3"


def test_nothing_that_can_be_read_is_no_crash(sess: Sess, tmp_path: Path) -> None:
    for side in ("origin", "recon"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").touch()
    result = sess("compare", tmp_path / "origin", tmp_path / "recon", "--metrics", "psnr")
    assert result.exit_code == 1
    assert "no pair could be scored" in result.stdout


def test_names_that_look_like_markup_are_printed_as_they_are(sess: Sess, codecs: tuple[Path, Path, Path]) -> None:
    origin, good, _ = codecs
    odd = good.rename(good.with_name("[bold]x"))
    result = sess("compare", origin, odd, "--metrics", "psnr")
    assert "[bold]x" in "".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["origin"], "name what is to be compared with origin"),
        (["origin", "nowhere"], "nowhere does not exist"),
        (["origin", "good", "--metrics", "psnr,sim"], "unknown metric 'sim'; did you mean `ssim`?"),
        (["origin", "good", "--batch-size", "0"], "--batch-size takes a number"),
        (["origin", "good", "--device", "abacus"], "there is no device 'abacus' here"),
        (["origin", "good", "--out", "compared.txt"], ".csv or .json"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: list[str],
    message: str,
    sess: Sess,
    codecs: tuple[Path, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = sess("compare", *arguments, *([] if "--metrics" in arguments else ["--metrics", "psnr"]))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("sess: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_too_little_memory_is_told_with_the_remedy(
    sess: Sess, codecs: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(preds: list[Tensor], target: list[Tensor]) -> list[float]:
        raise torch.OutOfMemoryError

    monkeypatch.setitem(METRICS, "psnr", dataclasses.replace(METRICS["psnr"], build=lambda context: fail))
    result = sess("compare", *codecs, "--metrics", "psnr")
    assert result.exit_code == 2
    assert "cpu has not enough memory for psnr; leave it out with --metrics" in result.stderr
