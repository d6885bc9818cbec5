"""``sess relations``: from annotated images to numbers, and what is said when something is not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shared import made_up_psg, tiny_sam_command
from torchmetrics_sess.relations import RelationHead
from torchmetrics_sess.relations.shards import TokenDataset

Sess = Callable[..., Any]


@pytest.fixture(name="annotations")
def fixture_annotations(tmp_path: Path) -> Path:
    return made_up_psg.write_data_set(tmp_path / "psg", images=5)


@pytest.fixture
def tiny_sam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put the small network where ViT-H would be; return the options that make it see shapes."""
    from segment_anything import sam_model_registry

    from torchmetrics_sess.weights import WEIGHTS

    for registry, name in ((WEIGHTS, "sam_vit_h"), (sam_model_registry, "vit_h")):
        monkeypatch.setitem(registry, name, registry[name])
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "home"))
    tiny_sam_command.install(tmp_path / "home")
    return ["--preset", "reference", *(f"--set={name}={value}" for name, value in tiny_sam_command.SETTINGS.items())]


def test_extract_and_evaluate(sess: Sess, annotations: Path, tiny_sam: list[str], tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    run = sess("relations", "extract", annotations, "-o", out, "--device", "cpu", "--shard-size", 2, *tiny_sam)
    assert run.exit_code == 0, run.stderr
    assert "train: 3 images" in run.stdout
    assert "test: 2 images" in run.stdout
    assert "from the found mask of highest IoU" in run.stdout
    files = sorted(path.name for path in out.iterdir())
    assert files == ["test-00000.safetensors", "train-00000.safetensors", "train-00001.safetensors"]
    train, test = TokenDataset(out, "train"), TokenDataset(out, "test")
    assert train.token_size == 64
    assert train[0].found is None
    assert test[0].found is not None

    # Nothing is done twice, and what is missing is made as it was.
    before = {name: (out / name).read_bytes() for name in files}
    (out / files[1]).unlink()
    run = sess("relations", "extract", annotations, "-o", out, "--device", "cpu", "--shard-size", 2, *tiny_sam)
    assert "2 of 3 files are there already" in run.stderr
    assert {name: (out / name).read_bytes() for name in files} == before
    other = [*tiny_sam, "--set=segmenter.points_per_side=5"]
    run = sess("relations", "extract", annotations, "-o", out, "--device", "cpu", "--shard-size", 2, *other)
    assert run.exit_code == 2
    assert "is of another extraction" in run.stderr

    head = tmp_path / "head.safetensors"
    RelationHead(64, 16, 2, 16, 4, vocab_size=1).save(head)
    results = tmp_path / "results.json"
    run = sess("relations", "evaluate", head, "--data", out, "--device", "cpu", "--json", results)
    assert run.exit_code == 0, run.stderr
    for words in (
        "recall",
        "mR",
        "pair",
        "class_agnostic_R",
        "frequency prior",
        "geometric",
        "random",
        "over",
        "beside",
    ):
        assert words in run.stdout
    content = json.loads(results.read_text())
    assert content["images"] == 2
    assert list(content["results"]) == ["head", "frequency prior", "geometric", "random"]
    for name, result in content["results"].items():
        annotated = sum(predicate["annotated"] for predicate in result["by_predicate"].values())
        assert annotated == sum(len(record.relations) for record in (test[0], test[1]))
        assert sum(map(sum, result["confusion"])) == annotated
        assert ("class_agnostic_R@20" in result["recall"]) == (name == "head")
    # With 4 or 5 objects, 100 ranks hold every pair.
    assert content["results"]["random"]["recall"]["pair@100"] == 1
    run = sess("relations", "evaluate", "--data", out, "--split", "train", "--json", results)
    assert run.exit_code == 0, run.stderr
    assert json.loads(results.read_text())["split"] == "train"
    # It was on the command line a moment ago, for `extract`.
    run = sess("relations", "evaluate", "--data", out, "--json", annotations)
    assert run.exit_code == 2
    assert "was not written by this command" in run.stderr.replace("\n", " ")


def test_images_that_cannot_be_read_are_left_out(
    sess: Sess, annotations: Path, tiny_sam: list[str], tmp_path: Path
) -> None:
    (tmp_path / "psg" / "train2017" / f"{2:012}.png").write_bytes(b"broken")
    out = tmp_path / "tokens"
    run = sess("relations", "extract", annotations, "-o", out, "--device", "cpu", *tiny_sam)
    assert run.exit_code == 1
    assert "000000000002.png cannot be read" in run.stderr
    assert "train: 2 images" in run.stdout
    assert len(TokenDataset(out, "train")) == 2


@pytest.mark.usefixtures("annotations")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["extract", "missing.json", "-o", "tokens"], "there is no file missing.json: psg.json is linked from"),
        (["extract", "psg/psg.json", "-o", "tokens", "--preset", "light"], "unknown preset 'light'"),
        (["extract", "psg/psg.json", "-o", "tokens", "--images", "."], "6 of 6 files are not in ."),
        (["train", "--data", "nowhere", "-o", "run"], "nowhere holds no tokens of the split 'train'"),
        (["train", "--data", "nowhere", "-o", "run", "--config", "missing.yaml"], "there is no file missing.yaml"),
        (
            ["train", "--data", "nowhere", "-o", "run", "--trainer.max_epochz", "2"],
            "unrecognized arguments: --trainer.max",
        ),
        (["evaluate", "--data", "nowhere"], "nowhere holds no tokens of the split 'test'"),
        (["evaluate", "--data", "nowhere", "--split", "dev"], "--split takes one of train, test, got 'dev'"),
        (["evaluate", "--data", "nowhere", "--json", "a/b.json"], "there is no folder a"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    sess: Sess, arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lightning sets these by itself.
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
    monkeypatch.chdir(tmp_path)
    run = sess("relations", *arguments)
    assert run.exit_code == 2, run.output
    assert problem in run.stderr.replace("\n", " ")
