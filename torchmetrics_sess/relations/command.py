"""What ``sess relations train`` runs: Lightning's command line, on settings, tokens and a folder."""

from __future__ import annotations

import pickle
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from torchmetrics_sess.cli.output import note
from torchmetrics_sess.relations.training import ExportHead, RelationData, RelationTraining

try:
    import jsonargparse  # noqa: F401
except ModuleNotFoundError as error:
    message = "training needs jsonargparse: install torchmetrics-sess[train]"
    raise ModuleNotFoundError(message, name=error.name) from error


class _RelationCLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let the network read tokens of the length that there are."""
        parser.link_arguments("data.token_size", "model.input_size", apply_on="instantiate")


def run_training(data: Path, out: Path, config: Path | None, arguments: Sequence[str]) -> bool:
    """Train a relation head, or go on where an earlier run into the same folder was cut off.

    Args:
        data: the folder of tokens.
        out: the folder of checkpoints, logs and the head.
        config: settings over those of ``configs/relations/psg.yaml``.
        arguments: of Lightning's command line, over both.

    Returns:
        Whether this is the process that talks for all.

    Raises:
        ValueError: for tokens, settings or checkpoints that are not what they should be.
    """
    if config is not None and not config.is_file():
        raise ValueError(f"there is no file {config}")
    configs = [published_config(), *([] if config is None else [config])]
    given = [part for path in configs for part in ("--config", str(path))]
    # All tokens are in memory, which no worker could be faster than.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # A run may be shorter than the interval in which steps are logged, and goes on in a folder that is in use; and what
    # the command line of this package was called with is no second set of arguments.
    for expected in ("smaller than the logging interval", "exists and is not empty", "LightningCLI's args parameter"):
        warnings.filterwarnings("ignore", f".*{expected}.*")
    resumed = _last_checkpoint(out)
    if resumed is not None:
        if getattr(rank_zero_only, "rank", 0) == 0:
            note(f"going on from {resumed}")
        given += ["--ckpt_path", str(resumed)]
    checkpoints = ModelCheckpoint(
        dirpath=out, filename="{epoch:03}", save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    # What is wrong is a sentence, not the usage of a program that is not the one that was called.
    parser = {"exit_on_error": False}
    try:
        command = _RelationCLI(
            RelationTraining,
            RelationData,
            args=["fit", *given, "--data.folder", str(data), *arguments],
            trainer_defaults={
                "callbacks": [checkpoints, ExportHead(out / "head.safetensors")],
                "logger": {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": str(out), "name": "logs"},
                },
            },
            save_config_kwargs={"overwrite": True},
            parser_kwargs={**parser, "fit": parser},
            auto_configure_optimizers=False,
        )
    except ArgumentError as error:
        raise ValueError(f"{error}; --print_config shows every setting") from error
    first: bool = command.trainer.is_global_zero
    return first


def published_config() -> Path:
    """Return the path of the settings that RelateAnything was trained with."""
    packaged = Path(str(resources.files("torchmetrics_sess").joinpath("configs/relations")))
    # An editable install reads them where the repository keeps them.
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs" / "relations"
    return folder / "psg.yaml"


def _last_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that is whole and holds nothing but data, or None if there is none.

    A run may be killed while it writes; the checkpoint before is then still there.
    """
    for path in sorted(folder.glob("epoch=*.ckpt"), reverse=True):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} holds more than plain data, and is not loaded: {error}") from error
        except (RuntimeError, EOFError):
            note(f"{path} was not written to its end, and is left out")
            continue
        return path
    return None
