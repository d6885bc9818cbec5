"""What the commands that score many pairs have in common: from a list of files to rows, and into a results file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from torchmetrics_sess.cli.output import Interruption, note, refusing
from torchmetrics_sess.cli.processes import Processes
from torchmetrics_sess.cli.results import ResultsError, ResultsFile
from torchmetrics_sess.cli.stream import LoadedPair, Measure, load_batches, score_batches, split
from torchmetrics_sess.images import FilePair, find_shards, pair_files, read_image, read_pairs, read_shards
from torchmetrics_sess.results import Row
from torchmetrics_sess.scoring import Scorer


def find_pairs(origin: Path, recons: Sequence[Path] | None) -> list[FilePair]:
    """Pair images, or read pairs from shards or from a list; end the command if that cannot be."""
    with refusing(ValueError, ModuleNotFoundError):
        if shards := _shards(origin, recons or []):
            return read_shards(shards, str(origin.parent if recons else origin))
        if recons:
            return pair_files(origin, recons)
        if origin.suffix.lower() != ".csv":
            raise ValueError(f"name what is to be compared with {origin}, or a .csv list of pairs")
        return read_pairs(origin)


def _shards(first: Path, others: Sequence[Path]) -> list[Path]:
    """Return the shards that arguments name: a folder of them, or one each, as a shell makes of ``shards/*.tar``."""
    if not others:
        return find_shards(first)
    paths = [first, *others]
    return paths if all(path.is_file() and find_shards(path) for path in paths) else []


@contextmanager
def open_results(
    path: Path | None, signature: str, processes: Processes, *, columns: Sequence[str] = (), overwrite: bool = False
) -> Iterator[ResultsFile | None]:
    """Open the results file of a run, if it is to have one and this process is the one that writes it.

    Whatever the file is not good for ends the command, as Ctrl-C does, with a sentence about how to go on.
    """
    try:
        with refusing(ResultsError):
            if path is None or processes.rank > 0:
                yield None
                return
            with ResultsFile(path, signature=signature, columns=columns, overwrite=overwrite) as results:
                yield results
    except KeyboardInterrupt:
        note("interrupted" if path is None else f"interrupted; the same command goes on from here ({path})")
        raise Interruption from None


def run(
    pairs: Sequence[FilePair],
    scorer: Scorer,
    processes: Processes,
    *,
    results: ResultsFile | None,
    batch_size: int | None = None,
    workers: int | None = None,
    measures: Mapping[str, Measure] | None = None,
    read: Callable[[str], Tensor] = read_image,
    complete: Callable[[LoadedPair], LoadedPair] | None = None,
) -> Iterator[Row]:
    """Compare pairs, and pass on their rows in order: those that ``results`` has already, then new ones.

    Args:
        pairs: what to compare; those of one original side by side, so that it is read once.
        scorer: how to compare it.
        processes: who shares the work; the rows arrive at the first one alone.
        results: where to write the rows.
        batch_size: how many pairs to take at once; by default, what suits the device.
        workers: how many threads read files.
        measures: what else to compare by, by column.
        read: reads an image, or raises a ``ValueError`` that says why it cannot.
        complete: adds what is known of the files of a pair besides, or why they cannot be compared.
    """
    # What Pillow has to say about single files would tear the progress bar apart.
    warnings.filterwarnings("ignore", module="PIL")
    batches = list(split(pairs, batch_size or (8 if processes.device.type == "cpu" else 32)))

    def score(batches: Sequence[Sequence[FilePair]]) -> Iterator[list[Row]]:
        loaded = load_batches(batches, workers=workers or min(4, os.cpu_count() or 1), read=read)
        if complete is not None:
            loaded = (list(map(complete, batch)) for batch in loaded)
        return score_batches(loaded, scorer, device=processes.device, measures=measures)

    noted = False
    for row in proceed(batches, score, processes, results=results, what="pairs"):
        if row.sizes_differ and not noted:
            noted = True
            note(
                f"the images of {row.pair.name} differ in size; such pairs are compared as they are, neither is resized"
            )
        yield row


def proceed(
    batches: Sequence[Sequence[FilePair]],
    work: Callable[[Sequence[Sequence[FilePair]]], Iterator[list[Row]]],
    processes: Processes,
    *,
    results: ResultsFile | None,
    what: str,
) -> Iterator[Row]:
    """Pass on the rows of batches in order: those that ``results`` has already, then those of what is still to do.

    Args:
        batches: all there is to do.
        work: does some of it, and returns the rows of one batch after the other.
        processes: who shares the work; the rows arrive at the first one alone.
        results: where to write the rows.
        what: what the batches are made of.
    """
    done = 0
    if results is not None:
        for rows in results.kept(batches):
            done += 1
            yield from rows
    done = processes.agree(done)
    if done == len(batches):
        if results is not None:
            note(f"nothing is left to do: {results.path} has the results of an earlier run")
        return
    if done:
        count = sum(map(len, batches))
        note(f"{sum(map(len, batches[:done]))} of {count} {what} are there already; going on with the others")
    for rows in processes.gather(work(processes.share(batches[done:])), len(batches) - done):
        if results is not None:
            results.append(rows)
        yield from rows
