"""The example that compares codecs: bits are those of the files, more of them look better, and one command runs it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from PIL import Image, features

from examples.compression import rate_distortion
from examples.compression.rate_distortion import CODECS, encode, main
from examples.photographs import load_photographs

COFFEE = load_photographs(["coffee"], 264)["coffee"]
AVAILABLE = [name for name, codec in CODECS.items() if codec.feature in features.get_supported()]


@pytest.mark.parametrize("name", AVAILABLE)
def test_settings_go_from_few_bits_to_many(name: str) -> None:
    codec = CODECS[name]
    rates = [encode(COFFEE, codec, options)[1] for options in codec.settings]
    assert rates == sorted(rates)
    assert rates[0] < 0.5 < 1.5 < rates[-1]


def test_bits_are_those_of_the_file() -> None:
    file = io.BytesIO()
    COFFEE.save(file, "JPEG", quality=40)
    decoded, bits = encode(COFFEE, CODECS["JPEG"], {"quality": 40})
    assert bits * COFFEE.width * COFFEE.height == pytest.approx(8 * file.tell())
    assert decoded.tobytes() == Image.open(file).tobytes()


def test_one_command_writes_the_table_and_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jpeg = CODECS["JPEG"]
    few = {"JPEG": jpeg._replace(settings=[{"quality": 5}, {"quality": 90}])}
    absent = jpeg._replace(feature="a codec of the future")
    monkeypatch.setattr(rate_distortion, "CODECS", {**few, "absent": absent})
    main(["--photographs", "coffee", "--longer-side", "264", "--out", str(tmp_path / "new")])

    printed = capsys.readouterr().out
    assert "absent is left out" in printed
    rows = list(csv.DictReader((tmp_path / "new" / "rate_distortion.csv").read_text().splitlines()))
    assert [row["codec"] for row in rows] == ["JPEG", "JPEG"]
    for name in ("bits_per_pixel", "psnr_db", "ms_ssim", "sess"):
        worse, better = (float(row[name]) for row in rows)
        assert 0 < worse < better
        assert rows[0][name] in printed
    with Image.open(tmp_path / "new" / "rate_distortion.png") as image:
        assert image.width > image.height > 300


def test_a_photograph_that_does_not_exist_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="'tulip'"):
        load_photographs(["tulip"], 264)
