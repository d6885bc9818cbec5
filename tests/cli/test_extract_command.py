from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from stub_extractor import stub_extractor

from torchmetrics_sess import SceneGraph
from torchmetrics_sess.cli.extract import describe_graph
from torchmetrics_sess.images import read_image
from torchmetrics_sess.scoring import Scorer

pytestmark = pytest.mark.usefixtures("stub_networks")

Sess = Callable[..., Any]


@pytest.fixture
def folder(image_folders: tuple[Path, Path]) -> Path:
    """Return a folder of images: 0 to 6, and one in a subfolder."""
    folder = image_folders[0]
    (folder / "sub").mkdir()
    shutil.copy(folder / "3.png", folder / "sub" / "3.png")
    return folder


def written(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("[!.]*") if path.is_file())


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_image_of_a_folder_has_its_graph(sess: Sess, folder: Path, tmp_path: Path, batch_size: int) -> None:
    out = tmp_path / "new" / "graphs"
    run = sess("extract", folder, "-o", out, "--batch-size", batch_size)
    assert run.exit_code == 0, run.stderr
    assert run.stdout.replace("\n", "").startswith(f"8 of 8 scene graphs are in {out}")
    names = [*map(str, range(7)), "sub/3"]
    assert written(out) == sorted(f"{name}.{kind}" for name in names for kind in ("json", "safetensors"))
    for name in names:
        [expected] = stub_extractor()([read_image(folder / f"{name}.png")])
        found = SceneGraph.load(out / f"{name}.safetensors")
        assert found.masks is not None
        assert expected.masks is not None
        assert torch.equal(found.masks, expected.masks)
        torch.testing.assert_close(found.features, expected.features)


def test_json_tells_what_the_graph_holds(sess: Sess, folder: Path, tmp_path: Path) -> None:
    assert sess("extract", folder / "5.png", "-o", tmp_path / "out").exit_code == 0
    content = json.loads((tmp_path / "out" / "5.json").read_text())
    graph = SceneGraph.load(tmp_path / "out" / "5.safetensors")
    assert content["image"] == {"file": "5.png", "height": 8, "width": 12}
    assert content["format"] == "torchmetrics-sess/scene-graph-json/1"
    assert content["signature"] == Scorer("lite").signature()
    assert [node["id"] for node in content["nodes"]] == [0, 1, 2, 3]
    assert [node["importance"] for node in content["nodes"]] == graph.importance.tolist()
    assert [node["center"] for node in content["nodes"]] == graph.centers.tolist()
    boxes = [[0, 0, 4, 6], [0, 6, 4, 12], [4, 0, 8, 6], [4, 6, 8, 12]]
    assert [node["bounding_box"] for node in content["nodes"]] == boxes
    assert [node["area"] for node in content["nodes"]] == [24, 24, 24, 24]
    assert content["triplets"] == [
        {"subject": 0, "predicate": "over", "object": 2, "confidence": 0.75},
        {"subject": 1, "predicate": "over", "object": 3, "confidence": 0.75},
    ]


def test_an_object_without_pixels_has_no_box() -> None:
    [graph] = stub_extractor()([torch.rand(3, 4, 4)])
    assert graph.masks is not None
    graph.masks[0] = False
    graph.masks[1] = torch.eye(4, dtype=torch.bool).roll(1, 1)
    nodes = describe_graph(graph, "name", "signature")["nodes"]
    assert (nodes[0]["bounding_box"], nodes[0]["area"]) == (None, 0)
    assert (nodes[1]["bounding_box"], nodes[1]["area"]) == ([0, 0, 4, 4], 4)


def test_masks_can_be_left_out(sess: Sess, folder: Path, tmp_path: Path) -> None:
    assert sess("extract", folder / "5.png", "-o", tmp_path / "out", "--no-masks").exit_code == 0
    assert SceneGraph.load(tmp_path / "out" / "5.safetensors").masks is None
    assert json.loads((tmp_path / "out" / "5.json").read_text())["nodes"][0]["bounding_box"] == [0, 0, 4, 6]


def test_images_of_one_stem_keep_their_extensions(sess: Sess, folder: Path, tmp_path: Path) -> None:
    with Image.open(folder / "5.png") as image:
        image.save(folder / "5.bmp")
    assert sess("extract", folder, "-o", tmp_path / "out").exit_code == 0
    names = {name.rpartition(".")[0] for name in written(tmp_path / "out")}
    assert names == {"0", "1", "2", "3", "4", "5.bmp", "5.png", "6", "sub/3"}


def test_images_of_one_name_are_refused(sess: Sess, image_folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = sess("extract", *image_folders, "-o", tmp_path / "out")
    assert run.exit_code == 2
    assert "0.png would both be 0.png; extract them into different folders" in run.stderr
    assert not (tmp_path / "out").exists()


def test_broken_images_are_named_and_left_out(sess: Sess, folder: Path, tmp_path: Path) -> None:
    (folder / "2.png").write_bytes(b"")
    run = sess("extract", folder, "-o", tmp_path / "out", "--batch-size", 2)
    assert run.exit_code == 1
    assert run.stderr == f"sess: {folder / '2.png'} cannot be read: the file is empty\n"
    assert run.stdout.startswith("7 of 8 scene graphs")
    assert len(written(tmp_path / "out")) == 14
    found = SceneGraph.load(tmp_path / "out" / "3.safetensors")
    [expected] = stub_extractor()([read_image(folder / "3.png")])
    torch.testing.assert_close(found.features, expected.features)


def test_a_graph_is_replaced_when_the_new_one_is_complete(
    sess: Sess, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert sess("extract", folder / "5.png", "-o", out).exit_code == 0
    before = (out / "5.safetensors").read_bytes()
    save = SceneGraph.save

    def fail(self: SceneGraph, path: Path) -> None:
        save(self, path)
        raise OSError(28, "No space left on device")

    shutil.copy(folder / "6.png", folder / "5.png")
    monkeypatch.setattr(SceneGraph, "save", fail)
    run = sess("extract", folder / "5.png", "-o", out)
    assert run.exit_code == 2
    assert (out / "5.safetensors").read_bytes() == before
    assert written(out) == ["5.json", "5.safetensors"]
    monkeypatch.undo()


def test_a_new_graph_takes_the_place_of_the_old(sess: Sess, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sess("extract", folder / "5.png", "-o", out)
    reader = tmp_path / "reader"
    reader.hardlink_to(out / "5.safetensors")
    before = reader.read_bytes()
    shutil.copy(folder / "0.png", folder / "5.png")
    sess("extract", folder / "5.png", "-o", out)
    assert (out / "5.safetensors").read_bytes() != before
    # Who has opened the old file goes on reading that.
    assert reader.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing", "-o", "out"], "missing does not exist"),
        (["empty", "-o", "out"], "empty holds no image that can be read"),
        (["origin", "-o", "origin/0.png"], "origin/0.png is a file; name a folder"),
        (["origin", "-o", "out", "--set", "x"], "--set takes KEY=VALUE"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    sess: Sess, folder: Path, arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    run = sess("extract", *arguments)
    assert run.exit_code == 2
    assert problem in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_folder_that_is_not_searched_is_named(sess: Sess, folder: Path, tmp_path: Path) -> None:
    (folder / "up").symlink_to(folder)
    run = sess("extract", folder, "-o", tmp_path / "out")
    assert run.exit_code == 1
    assert f"{folder / 'up'} is not searched: it is a link to {folder}" in run.stderr
    assert len(written(tmp_path / "out")) == 16
