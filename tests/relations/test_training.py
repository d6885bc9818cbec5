"""Training on made-up tokens: batches, starts, cut-off runs, several processes, and the files that come out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fork_server import run_module, start_module
from safetensors.torch import load_file
from torch import Tensor

from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.relations import RelationHead
from torchmetrics_sess.relations.shards import TokenDataset, TokenRecord, collate, shard_path, write_shard
from torchmetrics_sess.relations.training import EveryImageOnce, RelationTraining

DATA = Path(__file__).parents[1] / "data"
SMALL: dict[str, Any] = {
    "input_size": 8,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "feature_size": 4,
    "start": "scratch",
}


def record(index: int, found: int = 0) -> TokenRecord:
    """An image in which objects with a larger first number are *over* those with a smaller one."""
    generator = torch.Generator().manual_seed(index)
    n = 2 + index % 4
    tokens = torch.randn(n, 8, generator=generator)
    over = tokens[:, None, 0] > tokens[None, :, 0]
    subject, obj = over.nonzero().T
    relations = torch.stack([subject, obj, torch.zeros_like(subject)], 1)
    shapes = torch.randint(256, (n, 4, 4), generator=generator, dtype=torch.uint8)
    classes = torch.arange(n) % 3
    extra = (torch.randn(found, 8), torch.rand(found, n)) if found else (None, None)
    return TokenRecord(f"{index}.png", tokens, torch.zeros(n, dtype=torch.uint8), classes, shapes, relations, *extra)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    for split, count, first in (("train", 12, 0), ("test", 7, 100)):
        records = [record(first + index) for index in range(count)]
        about = {"signature": "seg:none", "split": split, "shards": 1, "origins": {}, "failures": []}
        write_shard(shard_path(folder, split, 0), records, about)
    return folder


def gradients(module: RelationTraining) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in module.head.parameters()]


@pytest.mark.parametrize("loss", ["zlpr", "bce"])
def test_a_padded_batch_is_its_images_alone(loss: Any) -> None:
    """Through the network, in the loss and in every gradient."""
    torch.manual_seed(0)
    module = RelationTraining(**SMALL, dropout=0.0, loss=loss)
    records = [record(index) for index in (3, 0, 2, 1)]
    losses, alone = [], []
    for one in records:
        module.zero_grad()
        batch = collate([one])
        losses.append(head_loss(module, batch))
        losses[-1].backward()
        alone.append(gradients(module))
    module.zero_grad()
    together = head_loss(module, collate(records))
    together.backward()
    torch.testing.assert_close(together, torch.stack(losses).mean(), rtol=0, atol=1e-6)
    for index, gradient in enumerate(gradients(module)):
        expected = torch.stack([one[index] for one in alone]).mean(0)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6)


def head_loss(module: RelationTraining, batch: Any) -> Tensor:
    loss: Tensor = module.batch_loss(batch)
    return loss


def command(folder: Path, out: Path, *options: str) -> list[Any]:
    settings = {**SMALL, "learning_rate": 0.01, "milestones": "[3]"}
    del settings["input_size"]
    arguments = [part for name, value in settings.items() for part in (f"--model.{name}", str(value))]
    trainer = ["--trainer.max_epochs", "4", "--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    quiet = ["--trainer.enable_progress_bar", "false"]
    out.mkdir(parents=True, exist_ok=True)
    start = [out.with_suffix(".log"), "torchmetrics_sess.cli", "relations", "train", "--data", str(folder)]
    return [*start, "-o", str(out), *trainer, *quiet, *arguments, *options]


@pytest.fixture(scope="module")
def trained(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_module(*command(tokens, out, "--model.ema_decay", "0.5"))
    return out


def metrics_of(out: Path) -> list[str]:
    """The last line of the last log with a validation in it."""
    lines = max((out / "logs").glob("*/metrics.csv")).read_text().splitlines()
    header = lines[0].split(",")
    wanted = [index for index, name in enumerate(header) if name.startswith("val/")]
    rows = [[line.split(",")[index] for index in wanted] for line in lines[1:]]
    return next(row for row in reversed(rows) if all(row))


def test_a_killed_run_ends_as_it_would_have(tokens: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = start_module(*command(tokens, out, "--model.ema_decay", "0.5"))
    while not list(out.glob("epoch=*.ckpt")):
        assert process.is_alive(), out.with_suffix(".log").read_text()
        time.sleep(0.05)
    process.kill()
    process.join()
    # What it was writing when it was killed:
    (out / "epoch=099.ckpt").write_bytes(b"")
    output = run_module(*command(tokens, out, "--model.ema_decay", "0.5"))
    assert "epoch=099.ckpt was not written to its end" in output
    expected, resumed = (load_file(folder / "head.safetensors") for folder in (trained, out))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in expected.items())
    assert metrics_of(out) == metrics_of(trained)


def test_two_processes_validate_as_one(tokens: Path, trained: Path, tmp_path: Path) -> None:
    """On seven images, which do not share out evenly."""
    values = {}
    for devices in ("1", "2"):
        out = tmp_path / devices
        options = ["--trainer.devices", devices, "--trainer.strategy", "ddp" if devices == "2" else "auto"]
        # No learning rate: both validate the same weights.
        start = ["--model.start", str(trained / "head.safetensors"), "--model.learning_rate", "0"]
        run_module(*command(tokens, out, *options, *start, "--trainer.max_epochs", "1", "--model.weight_decay", "0"))
        values[devices] = metrics_of(out)
    assert values["1"] == values["2"]


def test_the_trained_head_is_better_and_fits_a_preset(tokens: Path, trained: Path) -> None:
    head = RelationHead.from_checkpoint(trained / "head.safetensors")
    assert (head.input_size, head.num_attention_heads) == (8, 2)
    assert not any(parameter.requires_grad for parameter in head.parameters())
    preset = load_preset("lite", {"relations.kind": "ram", "relations.checkpoint": str(trained / "head.safetensors")})
    relation_model = preset.relations.build(torch.device("cpu"))
    assert torch.equal(relation_model.head.cls_sub.weight, head.cls_sub.weight)
    assert preset.relations.weights() == []
    assert preset.relations.digests()[0] in preset.signature()
    assert preset.relations.digests() != load_preset("reference").relations.digests()


def test_starts(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertConfig, BertModel

    released = RelationTraining(start=str(DATA / "tiny_ram.pth"), input_size=64)
    loaded = torch.load(DATA / "tiny_ram.pth", weights_only=True)
    weights = dict(released.head.named_parameters())
    assert torch.equal(weights["fc_input.0.weight"], loaded["fc_input.0.weight"])
    assert weights["fc_input.0.weight"].requires_grad

    sizes: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertModel(BertConfig(num_hidden_layers=3, vocab_size=5, max_position_embeddings=4, **sizes))
    bert.save_pretrained(tmp_path / "bert")
    module = RelationTraining(**{**SMALL, "start": str(tmp_path / "bert")})
    ours, theirs = module.head.model.encoder.layer.state_dict(), bert.encoder.layer[:2].state_dict()
    assert len(ours) == 32
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())

    monkeypatch.setenv("SESS_OFFLINE", "1")
    for start, message in (
        ("nowhere.pth", "there is no file nowhere.pth"),
        ("no-such/bert", "no such BERT could be had; pass 'scratch'"),
        (str(DATA / "tiny_ram.pth"), "reads tokens of 64 numbers, but those of the data have 8"),
    ):
        with pytest.raises(ValueError, match=message):
            RelationTraining(**{**SMALL, "start": start})
    with pytest.raises(ValueError, match="do not have the sizes asked for"):
        RelationTraining(**{**SMALL, "hidden_size": 32, "start": str(tmp_path / "bert")})
    with pytest.raises(ValueError, match="`ema_decay` must be between 0 and 1"):
        RelationTraining(**SMALL, ema_decay=1.5)


def test_the_average_follows_the_weights() -> None:
    module = RelationTraining(**SMALL, ema_decay=0.75)
    before = module.trained_head.cls_obj.weight.clone()
    module.on_train_batch_end(None, collate([record(0)]), 0)
    with torch.no_grad():
        module.head.cls_obj.weight += 1
    module.on_train_batch_end(None, collate([record(0)]), 0)
    torch.testing.assert_close(module.trained_head.cls_obj.weight, before + 0.25)


def test_shards_come_back_as_they_were_written(tmp_path: Path) -> None:
    records = [record(index, found=index + 1) for index in range(5)]
    for index, part in enumerate((records[:2], [], records[2:])):
        about = {"signature": "s", "split": "test", "shards": 3, "origins": {}, "failures": []}
        write_shard(shard_path(tmp_path, "test", index), part, about)
    read = TokenDataset(tmp_path, "test")
    assert len(read) == 5
    assert read.signature == "s"
    for expected, got in zip(records, read, strict=False):  # type: ignore[call-overload]
        assert got.name == expected.name
        for a, b in zip(expected[1:], got[1:], strict=True):
            assert torch.equal(a, b)


def spoil_format(folder: Path) -> None:
    shard_path(folder, "train", 0).write_bytes(b"something else")


def leave_one_out(folder: Path) -> None:
    about = {"signature": "a", "split": "train", "shards": 2, "origins": {}, "failures": []}
    write_shard(shard_path(folder, "train", 0), [record(0)], about)


def mix(folder: Path) -> None:
    for index, signature in enumerate("ab"):
        about = {"signature": signature, "split": "train", "shards": 2, "origins": {}, "failures": []}
        write_shard(shard_path(folder, "train", index), [record(0)], about)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "holds no tokens of the split 'train'"),
        (spoil_format, "is not a file of tokens"),
        (leave_one_out, "holds 1 of 2 files of the split 'train'.* goes on where it was cut off"),
        (mix, "mixes tokens of a and b"),
    ],
)
def test_unfinished_or_mixed_tokens_are_refused(tmp_path: Path, prepare: Callable[[Path], None], message: str) -> None:
    prepare(tmp_path)
    with pytest.raises(ValueError, match=message):
        TokenDataset(tmp_path, "train")


def test_every_image_comes_to_one_process_once() -> None:
    shares = [list(EveryImageOnce(range(7), 3, rank)) for rank in range(3)]  # type: ignore[arg-type]
    assert sorted(index for share in shares for index in share) == list(range(7))
