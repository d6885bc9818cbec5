"""``sess relations``: trains and measures networks that say how objects relate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_sess.cli.files import check_writable, written
from torchmetrics_sess.cli.options import (
    DeviceOption,
    DevicesOption,
    PresetOption,
    SettingsOption,
    parse_settings,
)
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    from torchmetrics_sess.relations.evaluation import Evaluation

relations = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Train networks that say how objects relate, and measure them.",
)

_TokensOption = Annotated[Path, typer.Option("--data", metavar="FOLDER", help="What `extract` has written.")]
_SPLITS = ("train", "test")
_CONFUSIONS = 8


@relations.command()
def extract(
    annotations: Annotated[Path, typer.Argument(help="psg.json, or a file of its format.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the files go.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="FOLDER", help="The folder of COCO.", show_default="that of the annotations"),
    ] = None,
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    devices: DevicesOption = 1,
    shard_size: Annotated[int, typer.Option("--shard-size", min=1, metavar="N", help="Images per file.")] = 256,
) -> None:
    """Turn the annotated objects of PSG into tokens, once, for `train` and `evaluate`.

    Tokens are those of the segmenter of a preset. With Segment Anything, an object gets the token of the mask of
    highest IoU with it, if that is at least .5, else that of the mask that its box prompts; with lite, the mean
    embedding under it. How often each happened is said at the end. A run that is cut off goes on where it was.

    **Examples**

        sess relations extract psg/psg.json --images coco/ -o tokens/ --preset reference --devices 8
        sess relations extract psg/psg.json --images coco/ -o tokens-lite/
    """
    from torchmetrics_sess.cli.processes import launch
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.stream import open_device
    from torchmetrics_sess.presets import load_preset
    from torchmetrics_sess.relations.extraction import extract_tokens
    from torchmetrics_sess.relations.psg import PsgDataset
    from torchmetrics_sess.relations.shards import read_header, shard_path, write_shard
    from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError, fetch_all

    with refusing(ValueError, TypeError, OSError):
        chosen = load_preset(preset, parse_settings(settings))
        splits = {split: PsgDataset(annotations, images, split=split) for split in ("train", "test")}
        out.mkdir(parents=True, exist_ok=True)
    signature = chosen.segmentation_signature()
    processes = launch(open_device(device), devices)

    work = []
    for split, dataset in splits.items():
        count = -(-len(dataset) // shard_size)
        work += [
            (split, index, range(index * shard_size, min((index + 1) * shard_size, len(dataset))), count)
            for index in range(count)
        ]
    missing = []
    for split, index, indices, count in work:
        path = shard_path(out, split, index)
        if not path.exists():
            missing.append((split, index, indices, count))
            continue
        with refusing(ValueError):
            header = read_header(path)
        if header["signature"] != signature or header["shards"] != count:
            refuse(f"{path} is of another extraction ({header['signature']}); name another folder")
    missing = processes.agree(missing)
    if len(missing) < len(work):
        note(f"{len(work) - len(missing)} of {len(work)} files are there already; going on with the others")

    if missing:
        with refusing(MissingWeightError, CorruptWeightError):
            fetch_all(chosen.segmenter.weights())
            segmenter = chosen.segmenter.build(processes.device)

        def written_shards() -> Any:
            for split, index, indices, count in processes.share(missing):
                records, failures = extract_tokens(
                    splits[split],
                    indices,
                    segmenter,
                    device=processes.device,
                    max_width=chosen.max_width,
                    keep_found=split == "test",
                )
                origins = [int(origin) for record in records for origin in record.origins]
                about = {
                    "signature": signature,
                    "split": split,
                    "shards": count,
                    "origins": {str(origin): origins.count(origin) for origin in sorted(set(origins))},
                    "failures": failures,
                }
                with refusing(OSError):
                    write_shard(shard_path(out, split, index), records, about)
                yield index

        for _ in track(processes.gather(written_shards(), len(missing)), len(missing), "extracting"):
            pass
    if processes.rank > 0:
        return
    failed = _say_what_was_extracted(
        out, [read_header(shard_path(out, split, index)) for split, index, _, _ in work], signature
    )
    if failed:
        raise typer.Exit(1)


@relations.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
def train(
    data: _TokensOption,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where checkpoints and the head go.", show_default=False),
    ],
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings, over those of RelateAnything.", show_default=False),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[--SECTION.SETTING VALUE]...", help="Options of Lightning.", show_default=False),
    ] = None,
) -> None:
    """Train a relation head on tokens, as RelateAnything was trained unless told otherwise.

    Every further option is one of Lightning's command line: `--trainer.`, `--model.` or `--data.` and the name of a
    setting; `--print_config` shows them all. A run that is cut off goes on after its last whole epoch, and ends as it
    would have. After every epoch the head is in FOLDER/head.safetensors, for `--set relations.checkpoint=` and
    `RelationHead.from_checkpoint`.

    **Examples**

        sess relations train --data tokens/ -o runs/psg
        sess relations train --data tokens/ -o runs/psg --trainer.devices 8 --model.ema_decay 0.999
        sess relations train --data tokens/ -o runs/ram --model.start ram_epoch12.pth
        sess relations train --data tokens/ -o runs/small --config configs/relations/small.yaml
    """
    with refusing(ModuleNotFoundError):
        from torchmetrics_sess.relations.command import run_training
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    with refusing(ValueError, TypeError, OSError, MisconfigurationException):
        talks = run_training(data, out, config, options or [])
    if talks:
        results().print(f"the head is in {out / 'head.safetensors'}", soft_wrap=True)


@relations.command()
def evaluate(
    head: Annotated[
        Path | None,
        typer.Argument(
            help="A head that `train` wrote, or the released ram_epoch12.pth.", show_default="the baselines alone"
        ),
    ] = None,
    data: _TokensOption = Path("tokens"),
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="test or train.")] = "test",
    device: DeviceOption = "auto",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all numbers, with the whole confusion.", show_default=False),
    ] = None,
) -> None:
    """Measure a relation head on annotated objects, beside baselines.

    Recall is that of RelateAnything (recall@K) and that of PSG for given objects (R@K, mR@K, and pair@K whatever the
    predicate); on objects that the segmenter found, without their classes, it is called class-agnostic.

    **Examples**

        sess relations evaluate runs/psg/head.safetensors --data tokens/
        sess relations evaluate ram_epoch12.pth --data tokens/ --json ram.json
        sess relations evaluate --data tokens/
    """
    from torchmetrics_sess.cli.stream import open_device
    from torchmetrics_sess.relations.baselines import FrequencyPrior, geometric_scores, random_scores
    from torchmetrics_sess.relations.evaluation import evaluate_baseline, evaluate_head
    from torchmetrics_sess.relations.ram import RelationHead
    from torchmetrics_sess.relations.shards import TokenDataset

    if json_file is not None:
        check_writable(json_file)
        if json_file.exists() and not _is_evaluation(json_file):
            refuse(f"cannot write {json_file}: what is there was not written by this command; name another file")
    if split not in _SPLITS:
        refuse(f"--split takes one of {', '.join(_SPLITS)}, got {split!r}")
    chosen = open_device(device)
    measured: dict[str, Evaluation] = {}
    with refusing(ValueError, OSError):
        dataset = TokenDataset(data, "train" if split == "train" else "test")
        prior = FrequencyPrior(TokenDataset(data, "train").records)
        if head is not None:
            network = RelationHead.from_checkpoint(head)
            measured[head.stem] = evaluate_head(network, dataset.records, device=chosen)
    measured["frequency prior"] = evaluate_baseline(prior, dataset.records)
    measured["geometric"] = evaluate_baseline(geometric_scores, dataset.records)
    measured["random"] = evaluate_baseline(random_scores, dataset.records)
    _show(measured, len(dataset), dataset.signature)
    if json_file is not None:
        content = {
            "signature": dataset.signature,
            "split": split,
            "images": len(dataset),
            "results": {name: _content(evaluation) for name, evaluation in measured.items()},
        }
        with written(json_file) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _is_evaluation(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"signature", "split", "results"} <= content.keys()


def _say_what_was_extracted(out: Path, headers: list[dict[str, Any]], signature: str) -> bool:
    """Print the counts of an extraction, and tell whether some image could not be read."""
    from torchmetrics_sess.relations.tokens import Origin

    words = {
        Origin.MATCHED: "from the found mask of highest IoU, at least .5",
        Origin.PROMPTED: "from the mask that their box prompts",
        Origin.POOLED: "from what the network sees under their mask",
    }
    console = results()
    failures = [failure for header in headers for failure in header["failures"]]
    for split in _SPLITS:
        chosen = [header for header in headers if header["split"] == split]
        console.print(f"{split}: {sum(len(header['images']) for header in chosen)} images", soft_wrap=True)
        for origin, text in words.items():
            count = sum(header["origins"].get(str(int(origin)), 0) for header in chosen)
            if count:
                console.print(f"  {count} objects {text}", soft_wrap=True)
    for failure in failures:
        note(failure)
    console.print(f"tokens are in {out}\n\n{signature}", soft_wrap=True)
    return bool(failures)


def _show(measured: dict[str, Evaluation], images: int, signature: str) -> None:
    from rich import box
    from rich.table import Table

    from torchmetrics_sess.relations.vocabulary import PREDICATES

    console = results()
    first = next(iter(measured.values()))
    # One table per kind of number, with a column for every K.
    kinds = list(dict.fromkeys(re.sub(r"@\d+$", "", name) for name in first.recall))
    ranks = list(dict.fromkeys(name.rpartition("@")[2] for name in first.recall))
    console.print(f"{images} images, in percent")
    table = Table("", "", *(f"@{k}" for k in ranks), box=box.SIMPLE_HEAD)
    for kind in kinds:
        for name, evaluation in measured.items():
            values = [evaluation.recall.get(f"{kind}@{k}") for k in ranks]
            if None not in values:
                table.add_row(kind, name, *("" if value is None else f"{100 * value:.2f}" for value in values))
    console.print(table)

    table = Table("predicate", "annotated", *(f"{name} @{ranks[0]}" for name in measured), box=box.SIMPLE_HEAD)
    for index in first.annotated.argsort(descending=True, stable=True).tolist():
        if first.annotated[index]:
            shares = (100 * float(evaluation.by_predicate[0, index]) for evaluation in measured.values())
            table.add_row(PREDICATES[index], str(int(first.annotated[index])), *(f"{share:.1f}" for share in shares))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)

    name = next(iter(measured))
    confused = first.confused(_CONFUSIONS)
    console.print(f"annotated pairs that {name} is most wrong about:" if confused else f"{name} confuses no predicates")
    for annotated, likeliest, count in confused:
        console.print(f"  {annotated} -> {likeliest}: {count}", soft_wrap=True)
    console.print(f"\n{signature}", soft_wrap=True)


def _content(evaluation: Evaluation) -> dict[str, Any]:
    from torchmetrics_sess.relations.vocabulary import PREDICATES

    shares = evaluation.by_predicate.tolist()
    return {
        "recall": evaluation.recall,
        "by_predicate": {
            name: {"annotated": int(evaluation.annotated[index]), "found": [row[index] for row in shares]}
            for index, name in enumerate(PREDICATES)
            if evaluation.annotated[index]
        },
        "confusion": evaluation.confusion.tolist(),
    }
