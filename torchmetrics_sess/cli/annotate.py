"""``sess annotate``: a local page on which people judge images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchmetrics_sess.cli.files import check_writable
from torchmetrics_sess.cli.options import ReconsArgument
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    from torchmetrics_sess.images import FilePair
    from torchmetrics_sess.judgements.server import Example, Links

_READERS = 4


def annotate(
    origin: Annotated[
        Path | None,
        typer.Argument(help="The originals: a folder, one image, or a .csv list of pairs.", show_default=False),
    ] = None,
    recons: ReconsArgument = None,
    study: Annotated[
        Path, typer.Option("--study", metavar="FILE", help="Settings of the study; written if it is not there.")
    ] = Path("study.yaml"),
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="FILE", help="Where answers are kept.", show_default="as --study, with .sqlite"
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", help="Write all answers into a .csv file and end.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 lets other machines in, by a secret link."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8400,
) -> None:
    """Let people judge how much of the meaning of images is kept, on a page in their browser.

    Two kinds of question: to rate one reconstruction in five steps, and to choose between two. Every answer is on the
    disk before the next question comes. Start the same command again to go on. Needs the extra `study`.

    **Examples**

        sess annotate kodak/ jpeg/ webp/ avif/                      ask, on this machine
        sess annotate kodak/ jpeg/ webp/ avif/ --host 0.0.0.0       ask people in the local network, too
        sess annotate --export ratings.csv                          write the answers of study.sqlite
    """
    place = answers or study.with_suffix(".sqlite")
    if export is not None:
        _export(place, export)
        return
    if origin is None:
        refuse("name the originals and what was made of them, or --export the answers that there are")

    with refusing(ModuleNotFoundError):
        _check_extra()
    from torchmetrics_sess.cli.run import find_pairs
    from torchmetrics_sess.judgements.server import open_socket, serve
    from torchmetrics_sess.judgements.storage import Storage
    from torchmetrics_sess.judgements.study import Study, catalogue, read_study, write_study

    with refusing(ValueError, TypeError, OSError):
        if not study.exists():
            check_writable(study)
            write_study(Study(), study)
            note(f"{study} was written: change what it says before the first answer, and start again")
        settings = read_study(study)
    found = find_pairs(origin, recons)
    _check_files(found)
    pairs = _readable(found)
    with refusing(ValueError):
        questions = catalogue(pairs, settings)
        storage = Storage(place, questions)
        listening = open_socket(host, port)
    # Steps that a study has defined itself are not what the built-in examples show.
    examples = _examples() if list(settings.meanings) == list(Study().meanings) else []
    console = results()

    def announce(links: Links) -> None:
        console.print(f"{len(questions.questions)} questions about {len(questions.names)} originals")
        console.print(f"for raters:   {links.raters}", soft_wrap=True)
        console.print(f"overview:     {links.overview}   (names codecs: not for raters)", soft_wrap=True)
        console.print(f"answers:      {place}   (Ctrl-C ends; sess annotate --export ratings.csv)", soft_wrap=True)

    # Ctrl-C is how it ends.
    with contextlib.suppress(KeyboardInterrupt):
        serve(questions, storage, listening, examples=examples, announce=announce)
    storage.close()
    note(f"the answers are in {place}; the same command goes on")


def _export(place: Path, export: Path) -> None:
    from torchmetrics_sess.judgements.answers import write_answers
    from torchmetrics_sess.judgements.storage import Storage

    check_writable(export)
    with refusing(ValueError, OSError):
        storage = Storage(place)
        count = write_answers(storage.answers(), export)
        storage.close()
    results().print(f"{count} answers are in {export}", soft_wrap=True)


def _check_extra() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is needed to ask people: install the extra `study` (pip install 'torchmetrics-sess[study]')"
        ) from error


def _check_files(pairs: Sequence[FilePair]) -> None:
    """Refuse pairs in shards: each has a copy of its original, so that nothing says which are of one original."""
    from torchmetrics_sess.images import shard_of

    paths = dict.fromkeys(Path(path).parent for pair in pairs for path in (pair.origin, pair.recon) if path)
    shard = next(filter(None, (shard_of(folder / "image") for folder in paths)), None)
    if shard is not None:
        refuse(f"{shard} is a shard, and people are asked about image files: unpack it into a folder for each codec")


def _readable(pairs: Sequence[FilePair]) -> list[FilePair]:
    """Return the pairs whose images can be shown, and tell of the others."""
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.images import read_image

    def problem(path: str) -> str:
        try:
            read_image(path)
        except ValueError as error:
            return str(error)
        return ""

    paths = list(dict.fromkeys(path for pair in pairs if not pair.problem for path in (pair.origin, pair.recon)))
    with ThreadPoolExecutor(_READERS) as pool:
        found: Iterator[str] = pool.map(problem, paths)
        problems = dict(zip(paths, track(found, len(paths), "reading"), strict=True))
    kept = []
    told = set()
    for pair in pairs:
        reason = pair.problem or problems[pair.origin] or problems[pair.recon]
        if not reason:
            kept.append(pair)
        elif reason not in told:
            told.add(reason)
            note(f"{pair.name} is left out: {reason}")
    if not kept:
        refuse("no pair of images is left to ask about")
    return kept


def _examples() -> list[Example]:
    """Return what the steps look like, on photographs that ship with the package."""
    from torchmetrics_sess.cli.distortions import distortions
    from torchmetrics_sess.judgements.server import Example
    from torchmetrics_sess.photographs import open_photograph

    def example(step: int, name: str, change: str, text: str) -> Example:
        return Example(step, text, open_photograph(name), distortions()[change](name))

    coffee = open_photograph("coffee")
    coarse = coffee.resize((24, 16)).resize(coffee.size)
    return [
        example(5, "cat", "darker", "darker, that is all."),
        example(4, "astronaut", "JPEG 5", "coarse, but all that matters can be told."),
        Example(3, "that it is a cup can be told; what is in it and around it, not.", coffee, coarse),
        example(2, "rocket", "subject erased", "the rocket is gone; the place is left."),
        example(1, "coffee", "another photograph", "another picture."),
    ]
