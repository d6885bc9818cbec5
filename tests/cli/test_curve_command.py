"""``sess curve``: three ways of use, one folder of results; every mistake is a sentence, and nothing is lost."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess import curves
from torchmetrics_sess.curves import delta, read_curves
from torchmetrics_sess.drawing.figures import save_figure
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.results import read_results

Sess = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("stub_networks")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw images anew a few times, not a thousand."""
    for name in ("delta", "disagreements"):
        plain = getattr(curves, name)
        monkeypatch.setattr(curves, name, partial(plain, resamples=20))


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Return a folder of three smooth originals."""
    folder = tmp_path / "my [originals]"
    folder.mkdir()
    for index, image in enumerate(stub_images(3, size=(4, 6))):
        to_pil_image(image).resize((96, 64), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time: turning figures into files."""

    def touch(figure: object, path: Path) -> None:
        path.touch()

    monkeypatch.setattr("torchmetrics_sess.drawing.figures.save_figure", touch)


def by_hand(original: Path, quality: int, path: Path) -> tuple[float, float]:
    """Return the rate and the PSNR of a JPEG file, computed without this package."""
    with Image.open(original) as image:
        image.save(path, quality=quality)
        before = np.asarray(image, dtype=np.float64)
    with Image.open(path) as image:
        after = np.asarray(image, dtype=np.float64)
    return 8 * path.stat().st_size / (96 * 64), 10 * np.log10(255**2 / ((before - after) ** 2).mean())


def test_codecs_become_a_table_figures_and_a_page(
    sess: Sess, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_one(figure: Figure, path: Path) -> None:
        # One stands for all: turning figures into files is what takes long.
        save_figure(figure, path) if path.name == "paper.png" else path.touch()

    monkeypatch.setattr("torchmetrics_sess.drawing.figures.save_figure", save_one)
    out = tmp_path / "out"
    result = sess(
        "curve",
        origin,
        "--codec",
        "jpeg:5,20,60",
        "--codec",
        "webp:5,50,90",
        "--metrics",
        "psnr",
        "--pictures",
        1,
        "-o",
        out,
    )
    assert result.exit_code == 0, result.stderr
    jpeg, webp = read_curves(out / "results.csv")
    assert (jpeg.name, jpeg.points, webp.name) == ("jpeg", ("5", "20", "60"), "webp")
    for place, quality in enumerate((5, 20, 60)):
        for index in range(3):
            rate, psnr = by_hand(origin / f"{index}.png", quality, tmp_path / "by_hand.jpg")
            assert jpeg.x[place, index] == rate
            assert jpeg.metrics["psnr"][place, index] == pytest.approx(psnr, abs=1e-3)
    with (out / "points.csv").open() as file:
        points = list(csv.DictReader(file))
    assert [float(point["psnr"]) for point in points[:3]] == pytest.approx(jpeg.metrics["psnr"].mean(1).tolist())
    assert f"{float(points[0]['sess']):.4f}" in result.stdout
    with (out / "deltas.csv").open() as file:
        deltas = list(csv.DictReader(file))
    expected = delta(jpeg, webp, "psnr", resamples=20)
    [found] = [line for line in deltas if (line["metric"], line["kind"]) == ("psnr", "rate")]
    assert (found["anchor"], found["codec"], float(found["value"])) == ("jpeg", "webp", expected.value)
    figures = sorted(path.name for path in (out / "figures").iterdir())
    for use in ("paper", "slides"):
        for ground in ("", "-dark"):
            assert {f"{use}{ground}{extension}" for extension in (".pdf", ".svg", ".png")} <= set(figures)
    with Image.open(out / "figures" / "paper.png") as image:
        # A column of 3.5 inches, at 250 pixels an inch.
        assert image.width == 875
    assert {"pictures-1.png", "pictures-1-dark.png"} <= set(figures)
    page = (out / "index.html").read_text()
    assert "Rate and meaning" in page
    assert f"jpeg, 5: {jpeg.rates[0]:.4g} bpp" in page
    published = json.loads((out / "compressai" / "jpeg.json").read_text())
    assert published["results"]["psnr-rgb"] == pytest.approx(jpeg.means("psnr").tolist())


@pytest.mark.usefixtures("no_figures")
def test_every_original_is_extracted_once(
    sess: Sess, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = SceneGraphExtractor.extract
    seen: list[int] = []

    def counting(self: SceneGraphExtractor, images: Any, *, masks: bool = False) -> Any:
        seen.append(len(images))
        return extract(self, images, masks=masks)

    monkeypatch.setattr(SceneGraphExtractor, "extract", counting)
    sess(
        "curve", origin, "--codec", "jpeg", "--points", 20, "--metrics", "psnr", "--pictures", 0, "-o", tmp_path / "out"
    )
    assert sum(seen) == 3 * (20 + 1)


@pytest.mark.usefixtures("no_figures")
def test_folders_a_planted_codec_and_a_second_anchor(sess: Sess, origin: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for quality in (5, 20, 60):
        point = results / "mine (10 % more)" / f"q{quality}"
        point.mkdir(parents=True)
        for index in range(3):
            by_hand(origin / f"{index}.png", quality, tmp_path / "by_hand.jpg")
            content = (tmp_path / "by_hand.jpg").read_bytes()
            with Image.open(tmp_path / "by_hand.jpg") as image:
                image.save(point / f"{index}.png")
            (point / f"{index}.bin").write_bytes(content + b"\0" * round(0.1 * len(content)))
    command = ("curve", origin, results, "--codec", "jpeg:5,20,60", "--metrics", "psnr", "-o", tmp_path / "out")
    result = sess(*command, "--anchor", "jpeg")
    assert result.exit_code == 0, result.stdout + result.stderr
    with (tmp_path / "out" / "deltas.csv").open() as file:
        found = [line for line in csv.DictReader(file) if line["kind"] == "rate"]
    assert {line["codec"] for line in found} == {"mine (10 % more)"}
    for line in found:
        if line["value"]:
            assert float(line["value"]) == pytest.approx(10, abs=0.1), line
    assert any(line["metric"] == "psnr" and line["value"] for line in found)
    again = sess(*command, "--anchor", "mine (10 % more)")
    assert "nothing is left to do" in again.stderr
    assert "against mine (10 % more)" in again.stdout


@pytest.mark.usefixtures("no_figures")
def test_over_snr_points_are_named_by_it(sess: Sess, origin: Path, tmp_path: Path) -> None:
    for scheme, blur in (("old", 8), ("new", 4)):
        for snr in (-5, 0, 10):
            folder = tmp_path / "received" / scheme / f"{snr}dB"
            folder.mkdir(parents=True)
            for path in origin.iterdir():
                with Image.open(path) as image:
                    factor = blur * (3 - 0.2 * snr) / 2
                    image.reduce(max(1, round(factor))).resize(image.size).save(folder / path.name)
    out = tmp_path / "out"
    result = sess("curve", origin, tmp_path / "received", "--axis", "snr", "--metrics", "psnr", "-o", out)
    assert result.exit_code == 0, result.stderr
    new, old = read_curves(out / "results.csv")
    assert (new.name, new.axis, new.rates.tolist()) == ("new", "snr", [-5.0, 0.0, 10.0])
    assert old.points == ("-5dB", "0dB", "10dB")
    assert "BD-SNR" in result.stdout
    assert not (out / "compressai").exists()


@pytest.mark.usefixtures("no_figures")
def test_results_of_compressai_are_drawn_alone_and_beside_others(sess: Sess, origin: Path, tmp_path: Path) -> None:
    for name, shift in (("bmshj2018", 0), ("vtm", 1)):
        results = {"bpp": [0.1, 0.5, 1.0], "psnr": [28 + shift, 32 + shift, 35 + shift], "encoding_time": [1, 2, 3]}
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, "description": "", "results": results}))
    files = [tmp_path / "bmshj2018.json", tmp_path / "vtm.json"]
    result = sess("curve", *files, "-o", tmp_path / "alone")
    assert result.exit_code == 0, result.stderr
    assert "vtm" in result.stdout
    assert "the means alone are known" in result.stdout
    assert (tmp_path / "alone" / "figures" / "paper.pdf").exists()
    page = tmp_path / "alone" / "index.html"
    assert str(page) in result.stdout
    assert "vtm, 0.5: 0.5 bpp, PSNR 33" in page.read_text()
    assert "Summary" not in page.read_text()
    options = ("--codec", "jpeg:5,50", "--metrics", "psnr", "-o", tmp_path / "out")
    beside = sess("curve", origin, files[0], *options)
    assert beside.exit_code == 0, beside.stderr
    assert "SeSS of bmshj2018" in beside.stdout or "bmshj2018 has no SeSS" in beside.stdout
    [ours] = read_curves(tmp_path / "out" / "compressai" / "jpeg.json")
    assert ours.means("psnr") == pytest.approx(read_curves(tmp_path / "out" / "results.csv")[0].means("psnr"))


@pytest.mark.usefixtures("no_figures")
def test_what_fails_for_one_image_is_named_and_the_others_stay(sess: Sess, origin: Path, tmp_path: Path) -> None:
    # Whatever images are called: neither a table's markup nor a command's braces see it.
    name = "1 [b] {q} 'x'.png"
    (origin / "1.png").rename(origin / name)
    script = tmp_path / "enc.sh"
    # It fails on one image of all, at one of its points.
    script.write_text('[ "$3" = 2 ] && [ "$(wc -c < "$1")" = "$4" ] && { echo no memory >&2; exit 1; }; cp "$1" "$2"\n')
    with Image.open(origin / name) as image:
        image.save(tmp_path / "same.png", compress_level=1)
    size = (tmp_path / "same.png").stat().st_size
    codec = f"mine:1,2=sh {script} {{in}} {{bits}} {{q}} {size}; cp {{bits}} {{out}}"
    result = sess("curve", origin, "--codec", codec, "--metrics", "psnr", "--pictures", 0, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "not scored: 1" in result.stdout
    assert "mine 2 failed: sh ended with status 1, and said: no memory" in result.stdout
    assert f"{name} is left out of all means (mine 2 failed" in result.stderr
    statuses = [row.status for row in read_results(tmp_path / "out" / "results.csv").rows]
    assert sum(status == "ok" for status in statuses) == 5


@pytest.mark.usefixtures("no_figures")
def test_reconstructions_that_are_missing_extra_or_of_another_size_are_named(
    sess: Sess, origin: Path, tmp_path: Path
) -> None:
    for quality in (5, 50):
        folder = tmp_path / "results" / "jpeg" / str(quality)
        folder.mkdir(parents=True)
        for index in range(3):
            by_hand(origin / f"{index}.png", quality, folder / f"{index}.jpg")
    (folder / "0.jpg").unlink()
    with Image.open(folder / "1.jpg") as image:
        image.resize((90, 64)).save(folder / "1.jpg")
    shutil.copy(folder / "2.jpg", folder / "extra.jpg")
    result = sess("curve", origin, tmp_path / "results", "--metrics", "psnr", "--pictures", 0, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "not scored: 3" in result.stdout
    assert "1.jpg has 90 x 64 pixels, its original 96 x 64" in result.stdout
    assert "0.png is left out of all means (jpeg 50: no partner in" in result.stderr
    [curve] = read_curves(tmp_path / "out" / "results.csv")
    assert curve.images == ["2.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--codec", "jpeg"], "nowhere does not exist"),
        (["originals"], "name what originals is to be encoded with"),
        (["originals", "--codec", "jpg"], "there is no codec 'jpg'"),
        (["originals", "--codec", "jpeg:200"], "jpeg takes a quality from 1 to 100"),
        (["originals", "--codec", "jpeg", "--codec", "jpeg:5"], "two codecs are called jpeg"),
        (["originals", "--codec", "jpeg", "--anchor", "bpg"], "--anchor bpg is none of the codecs: jpeg"),
        (["originals", "--codec", "jpeg", "--time-limit", "0"], "--time-limit takes a number of seconds above 0"),
        (["originals", "--codec", "jpeg", "--rates", "none.csv"], "none.csv cannot be read"),
        (["originals", "--codec", "jpeg", "--axis", "snr"], "a quality of jpeg is no SNR"),
        (["originals", "--codec", "jpeg", "--show", "-1"], "--show takes a bpp above 0, got -1"),
        (["originals", "originals"], "it has no subfolder"),
        (["originals", "decoded"], "there is no compressed file of the same name beside it"),
        (["originals", "--codec", "jpeg", "-o", "originals/curve"], "would be among the originals next time"),
        (["broken.json"], "broken.json is no JSON"),
        (["other.json"], "other.json is no results file of CompressAI"),
        (["other.json", "--axis", "snr"], "is no results file"),
        (["nan.json"], "nan.json holds nan where a number belongs"),
        (["unknown.json"], "unknown.json holds no metric that is known here: psnr-rgb, ms-ssim-rgb, sess"),
        (["originals", "--codec", "jpeg", "-o", "page"], "is no report of ours"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: list[str], message: str, sess: Sess, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    origin.rename("originals")
    Path("broken.json").write_text("{")
    Path("other.json").write_text('{"results": {"psnr": [1]}}')
    Path("nan.json").write_text('{"results": {"bpp": [1, 2], "psnr-rgb": [30, NaN]}}')
    Path("unknown.json").write_text('{"results": {"bpp": [1], "mine": [1]}}')
    shutil.copytree("originals", "decoded/png/5")
    Path("page").mkdir()
    Path("page/index.html").write_text("mine")
    result = sess("curve", *arguments, "--metrics", "psnr")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("sess: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not Path("curve").exists()


@pytest.mark.usefixtures("no_figures")
def test_what_cannot_be_compared_is_said_and_nothing_is_claimed_of_it(sess: Sess, tmp_path: Path) -> None:
    for name, rates in (("one", [0.5]), ("many", [0.25, 0.5, 1.0])):
        results = {
            "bpp": rates,
            "psnr-rgb": [30 + rate for rate in rates],
            "ms-ssim-rgb": [0.5 + rate / 4 for rate in rates],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, "results": results}))
    alone = sess("curve", tmp_path / "one.json", "-o", tmp_path / "alone")
    both = sess("curve", tmp_path / "many.json", tmp_path / "one.json", "-o", tmp_path / "both")
    for result in (alone, both):
        assert result.exit_code == 0
        assert "one has a single point: a curve takes two" in result.stdout
        assert "contradict" not in result.stdout


def test_without_what_compares_the_extra_is_named(sess: Sess, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_sess.cli.curve_output.find_spec", lambda name: None)
    result = sess("curve", origin, "--codec", "jpeg")
    assert result.exit_code == 2
    assert "install torchmetrics-sess[curves]" in result.stderr
