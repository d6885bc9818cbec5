"""Data sets in which people have said how alike images are, read as they were released."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Names under which a score may come: aggregated, or one line for every annotator.
_SIS_SCORES = ("agg_score", "annot_score", "score", "human_score")


@dataclass(frozen=True)
class Judgements:
    """What people say of images beside a reference: a mean rating of one, or which of two is more like it.

    Args:
        references: the image that each judgement is about.
        others: what is beside it: one image that is rated, or a left and a right one to choose from.
        human: how alike people find the two, higher is more alike; or the share of people who chose the right one.
        votes: how many people said so, if that is known.
    """

    references: Sequence[Path]
    others: Sequence[tuple[Path, ...]]
    human: Sequence[float]
    votes: Sequence[int] = ()

    @property
    def choices(self) -> bool:
        """Whether people chose between two images."""
        return len(self.others[0]) == 2


def read_nights(folder: Path, split: str = "test", min_votes: int = 6) -> Judgements:
    """Read NIGHTS (Fu et al., *DreamSim*, NeurIPS 2023): ``data.csv`` and the images that it names.

    Its columns ``ref_path``, ``left_path``, ``right_path``, ``left_vote`` and ``right_vote`` are needed; ``split`` and
    ``votes`` are heeded where they are there.

    Args:
        folder: of the data set.
        split: ``train``, ``val`` or ``test``.
        min_votes: triplets with fewer votes are left out, as the authors do.

    Raises:
        ValueError: if a file, a column, or every triplet of the split is missing, or a vote is no number.
    """
    path = folder / "data.csv"
    columns = ("ref_path", "left_path", "right_path", "left_vote", "right_vote")
    references, others, human = [], [], []
    for line, row in _rows(path, columns):
        if row.get("split", split) != split or _number(row.get("votes", str(min_votes)), path, line) < min_votes:
            continue
        left, right = (_number(row[name], path, line) for name in ("left_vote", "right_vote"))
        if left + right <= 0:
            raise ValueError(f"{path}, line {line}: nobody chose either image")
        references.append(_find(folder, row["ref_path"]))
        others.append((_find(folder, row["left_path"]), _find(folder, row["right_path"])))
        human.append(right / (left + right))
    if not human:
        raise ValueError(f"{path} has no triplet of split {split!r} with at least {min_votes} votes")
    return Judgements(references, others, human)


def read_sis(path: Path, images: Path) -> Judgements:
    """Read the image pairs of Crisscrossed Captions (Parekh et al., EACL 2021): ``sis_val.csv``, ``sis_test.csv``.

    The columns are ``image1``, ``image2`` and one of ``agg_score``, ``annot_score``, ``score``, ``human_score``. A pair
    that has several lines, as in the ``_raw`` files, gets their mean.

    Args:
        path: the CSV file.
        images: folder of the COCO images that it names, or the folder above ``val2014``.

    Raises:
        ValueError: if a file or column is missing, a score is no number, or there is no pair.
    """
    rows = list(_rows(path, ("image1", "image2")))
    names = rows[0][1].keys()
    column = next((name for name in _SIS_SCORES if name in names), None)
    if column is None:
        raise ValueError(f"{path} has none of the columns {', '.join(_SIS_SCORES)}, but {', '.join(names)}")
    folder = images / "val2014" if (images / "val2014").is_dir() else images
    scores: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for line, row in rows:
        scores[row["image1"], row["image2"]].append(_number(row[column], path, line))
    return Judgements(
        [_find(folder, first) for first, _ in scores],
        [(_find(folder, second),) for _, second in scores],
        [sum(found) / len(found) for found in scores.values()],
    )


def read_tid2013(folder: Path) -> Judgements:
    """Read TID2013 (Ponomarenko et al., 2015): ``mos_with_names.txt``, ``reference_images``, ``distorted_images``.

    The names in the list and on disk differ in case.

    Raises:
        ValueError: if a file is missing, or a line is not ``score name``.
    """
    path = folder / "mos_with_names.txt"
    references, others, human = [], [], []
    for line, text in enumerate(_text(path).splitlines(), 1):
        if not text.strip():
            continue
        score, _, name = text.strip().partition(" ")
        reference = name.strip().partition("_")[0]
        if not reference:
            raise ValueError(f"{path}, line {line}: expected a score and a name, got {text!r}")
        references.append(_find(folder / "reference_images", f"{reference}.bmp"))
        others.append((_find(folder / "distorted_images", name.strip()),))
        human.append(_number(score, path, line))
    if not human:
        raise ValueError(f"{path} lists no image")
    return Judgements(references, others, human)


def read_kadid(folder: Path) -> Judgements:
    """Read KADID-10k (Lin et al., 2019): ``dmos.csv`` with ``dist_img,ref_img,dmos``, and ``images``.

    In spite of its name, a ``dmos`` of 5 is that of an image in which no difference can be seen.

    Raises:
        ValueError: if a file or column is missing, or a score is no number.
    """
    path = folder / "dmos.csv"
    rows = list(_rows(path, ("dist_img", "ref_img", "dmos")))
    return Judgements(
        [_find(folder / "images", row["ref_img"]) for _, row in rows],
        [(_find(folder / "images", row["dist_img"]),) for _, row in rows],
        [_number(row["dmos"], path, line) for line, row in rows],
    )


def read_plain(path: Path) -> Judgements:
    """Read a CSV file with the columns ``image_a``, ``image_b`` and ``human_score``; higher is more alike.

    Paths are relative to the folder of the file. ``image_a`` is the original where there is one.

    Raises:
        ValueError: if a file or column is missing, a score is no number, or there is no pair.
    """
    rows = list(_rows(path, ("image_a", "image_b", "human_score")))
    return Judgements(
        [_find(path.parent, row["image_a"]) for _, row in rows],
        [(_find(path.parent, row["image_b"]),) for _, row in rows],
        [_number(row["human_score"], path, line) for line, row in rows],
    )


def _rows(path: Path, columns: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV file by column, each with its line number."""
    reader = csv.DictReader(_text(path).splitlines(), skipinitialspace=True)
    names = [name.strip() for name in reader.fieldnames or ()]
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}, but {', '.join(names) or 'none at all'}")
    reader.fieldnames = names
    rows = [(reader.line_num, {name: (row[name] or "").strip() for name in names}) for row in reader]
    if not rows:
        raise ValueError(f"{path} has no row")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}, line {line}: {text!r} is no number")
    return value


def _find(folder: Path, name: str) -> Path:
    """Return the path of a file, whatever the case of the last part of its name."""
    path = folder / name
    found = _by_lower_case(path.parent).get(path.name.lower())
    if found is None:
        raise ValueError(f"{path} does not exist")
    return path.parent / found


@cache
def _by_lower_case(folder: Path) -> dict[str, str]:
    try:
        return {path.name.lower(): path.name for path in folder.iterdir()}
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from error
