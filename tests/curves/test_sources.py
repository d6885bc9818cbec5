"""Where points come from: folders, tables and names; whatever is wrong with them is a sentence that names it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stub_extractor import stub_images
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess.curves.codecs import parse_codec
from torchmetrics_sess.curves.sources import Encoded, Rates, merge_pairs, pair_points, read_rates
from torchmetrics_sess.images import FilePair, read_image


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Return a folder of three originals, one of them of a name that shells and globs would trip over."""
    folder = tmp_path / "originals"
    folder.mkdir()
    names = ("a.png", "b [1] $x;'.png", "c.png")
    for name, image in zip(names, stub_images(3, size=(24, 32)), strict=True):
        to_pil_image(image).save(folder / name)
    return folder


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"0123456789")
    return folder


def pair(path: Path) -> FilePair:
    return FilePair("a.png", "o/a.png", str(path), str(path.parent))


def test_images_are_made_when_they_are_read_and_by_many_threads_as_by_one(origin: Path, tmp_path: Path) -> None:
    encoded = Encoded(tmp_path / "out", origin, [parse_codec("jpeg:5,40,90"), parse_codec("webp:5,90")])
    encoded.prepare()
    assert len(encoded.pairs) == 15
    assert not any(Path(each.recon).exists() for each in encoded.pairs)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(encoded.read, [each.recon for each in encoded.pairs]))
    for each, image in zip(encoded.pairs, images, strict=True):
        quality = int(Path(each.recon_folder).name)
        by_hand = tmp_path / f"by_hand{Path(each.recon).suffix}"
        with Image.open(each.origin) as original:
            original.save(by_hand, quality=quality)
        assert Path(each.recon).read_bytes() == by_hand.read_bytes()
        assert np.array_equal(image, read_image(by_hand))
        assert Rates("bpp", encoded=encoded).of(each, 24 * 32) == 8 * by_hand.stat().st_size / (24 * 32)


def test_what_is_there_is_not_made_again_unless_its_recipe_differs(origin: Path, tmp_path: Path) -> None:
    command = "sh -c 'cp {in} {bits}'; cp {bits} {out}"
    encoded = Encoded(tmp_path / "out", origin, [parse_codec(f"mine:1={command}")])
    encoded.prepare()
    path = encoded.pairs[0].recon
    encoded.read(path)
    times = Path(path).stat().st_mtime_ns
    again = Encoded(tmp_path / "out", origin, [parse_codec(f"mine:1={command}")])
    again.read(path)
    assert Path(path).stat().st_mtime_ns == times
    with pytest.raises(ValueError, match="holds what another version or command of mine made"):
        Encoded(tmp_path / "out", origin, [parse_codec("mine:1=cp {in} {bits}; cp {bits} {out}")])


def test_two_originals_of_one_stem_keep_their_extension(origin: Path, tmp_path: Path) -> None:
    with Image.open(origin / "a.png") as image:
        image.save(origin / "a.bmp")
    encoded = Encoded(tmp_path / "out", origin, [parse_codec("jpeg:5")])
    assert sorted(Path(each.recon).name for each in encoded.pairs)[:2] == ["a.bmp.jpg", "a.png.jpg"]


def test_a_rate_is_that_of_the_file_of_the_same_name(tmp_path: Path) -> None:
    rates = Rates("bpp")
    folder = make(tmp_path / "mine" / "5", "a.png", "a.bin", "b.jpg", "c.png", "c.png.bits", "d.png")
    assert rates.of(pair(folder / "a.png"), 100) == 0.8
    assert rates.of(pair(folder / "b.jpg"), 100) == 0.8
    assert rates.of(pair(folder / "c.png"), 100) == 0.8
    with pytest.raises(ValueError, match="there is no compressed file of the same name beside it; pass --rates FILE"):
        rates.of(pair(folder / "d.png"), 100)
    other = make(tmp_path / "mine" / "6", "a.png", "a.bin", "a.txt", "b.png", "b.bin")
    with pytest.raises(ValueError, match=r"which is the bitstream of .*a\.png: a\.bin or a\.txt\?"):
        rates.of(pair(other / "a.png"), 100)
    (other / "b.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.bin is a bitstream of zero bytes"):
        rates.of(pair(other / "b.png"), 100)


def test_folders_of_codecs_pair_up_without_the_bitstreams_in_them(origin: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for point in ("10", "5"):
        make(results / "mine" / point, "a.png", "a.bin", "c.png", "c.jp2", "extra.png")
    pairs = pair_points(origin, [results])
    found = {(Path(each.recon_folder).name, each.name): each for each in pairs}
    assert list(dict.fromkeys(Path(each.recon_folder).name for each in pairs)) == ["5", "10"]
    assert found["5", "a.png"].recon == str(results / "mine" / "5" / "a.png")
    assert str(found["5", "b [1] $x;'.png"].problem).startswith("no partner in")
    assert str(found["5", "extra.png"].problem).startswith("no partner in")
    assert ("5", "c.jp2") not in found


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("originals/a.png", "is a file, not a folder"),
        ("originals", "must hold folders CODEC/POINT/IMAGE; it has no subfolder"),
        ("flat", "which point are its images of"),
    ],
)
def test_a_folder_of_another_structure_is_refused(origin: Path, tmp_path: Path, folder: str, message: str) -> None:
    make(tmp_path / "flat" / "jpeg", "a.png")
    with pytest.raises(ValueError, match=message):
        pair_points(origin, [tmp_path / folder])


def test_two_folders_may_not_have_codecs_of_one_name() -> None:
    one, two = (FilePair("a.png", "o/a.png", f"{top}/jpeg/5/a.png", f"{top}/jpeg/5") for top in ("x", "y"))
    with pytest.raises(ValueError, match="two codecs are called jpeg: x/jpeg and y/jpeg"):
        merge_pairs([[one], [two]])


@pytest.mark.parametrize(
    ("axis", "point", "expected"),
    [
        ("snr", "10dB", 10.0),
        ("snr", "-5", -5.0),
        ("snr", "awgn-5dB", -5.0),
        ("snr", "snr_7.5", 7.5),
        ("cbr", "0.0625", 0.0625),
    ],
)
def test_a_point_may_be_named_by_where_it_lies(axis: str, point: str, expected: float) -> None:
    assert Rates(axis).of(pair(Path("jscc", point, "a.png")), 100) == expected


@pytest.mark.parametrize(
    ("axis", "point", "message"),
    [
        ("snr", "high", "its name holds no number"),
        ("cbr", "1_6", "its name holds the numbers 1 and 6"),
        ("cbr", "0", "must be positive"),
    ],
)
def test_a_name_that_says_nothing_is_refused_before_any_work(axis: str, point: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rates(axis).check([pair(Path("jscc", point, "a.png"))])


def test_a_table_says_where_points_lie(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("codec,point,image,bpp\nmine,low,a.png,0.25\nmine,low,b,0.5\nmine,high,,2\n")
    rates = Rates("bpp", read_rates(path, "bpp"))
    b = FilePair("b.png", "o/b.png", "r/mine/low/b.png", "r/mine/low")
    assert rates.of(pair(Path("r/mine/low/a.png")), 1) == 0.25
    assert rates.of(b, 1) == 0.5
    assert rates.of(pair(Path("r/mine/high/a.png")), 1) == 2
    with pytest.raises(ValueError, match=r"--rates has no line for mine low c\.png"):
        rates.of(FilePair("c.png", "o/c.png", "r/mine/low/c.png", "r/mine/low"), 1)
    with pytest.raises(ValueError, match="--rates has no line for mine middle"):
        rates.check([pair(Path("r/mine/middle/a.png"))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("codec,point,bits\n", "has no column 'bpp'"),
        ("codec,point,bpp\n", "holds no rate"),
        ("codec,point,bpp\nmine,1,high\n", "line 2: `bpp` must be a number, got 'high'"),
        ("codec,point,bpp\nmine,1,0\n", "line 2: `bpp` must be a positive number, got '0'"),
        ("codec,point,bpp\nmine,1,1\nmine,1,2\n", "line 3: there are two rates for mine 1"),
    ],
)
def test_a_broken_table_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_rates(path, "bpp")
    with pytest.raises(ValueError, match="cannot be read: no such file"):
        read_rates(tmp_path / "missing.csv", "bpp")
