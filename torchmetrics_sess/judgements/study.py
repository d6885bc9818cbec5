"""What a study asks: its settings, from YAML, and every question that its images give."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.config import nearest
from torchmetrics_sess.images import FilePair
from torchmetrics_sess.judgements.answers import KINDS, STEPS, Kind

_STEPS = ("nothing", "little", "about half", "nearly all", "all of it")
_MEANINGS = (
    "It could be another picture. What the original is about is gone.",
    "One can guess what it was about, but the main things are gone or cannot be recognised.",
    "The place is the same, but something that matters is missing, replaced or cannot be made out.",
    "All that matters is there; small things are lost or unclear.",
    "It shows the same. It may look worse, as long as it says the same.",
)
_INSTRUCTIONS = (
    "You see an original and what became of it. Judge how much of what the picture SHOWS is kept: which things there "
    "are, what they are, how they relate. Do not judge how beautiful or how sharp it is. There is no right answer: "
    "your first impression counts."
)


@dataclass(frozen=True)
class Study:
    """The settings of a study.

    Args:
        title: what raters see first.
        instructions: what they are told.
        kinds: what is asked: ``"rate"``, ``"choose"``, or both in turns of ten.
        steps: the names of the five steps, from 1 to 5.
        meanings: what each step means, in a sentence.
        answers_per_question: every question is answered by so many raters, at least, before any gets more.
        questions_per_rater: how many questions a rater gets; ``None`` for as many as there are.
        repeats: share of questions that are asked again, to see whether the answer is the same.
        checks: share of pairs of identical images, to see whether anybody is looking.
        seed: of the random order.

    Raises:
        ValueError: for a setting out of its range.
        TypeError: for one of a wrong type.
    """

    title: str = "How much of the picture is left?"
    instructions: str = _INSTRUCTIONS
    kinds: Sequence[str] = KINDS
    steps: Sequence[str] = _STEPS
    meanings: Sequence[str] = _MEANINGS
    answers_per_question: int = 3
    questions_per_rater: int | None = 100
    repeats: float = 0.05
    checks: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("title", "instructions"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"`{name}` must be text, got {getattr(self, name)!r}")
        for name in ("steps", "meanings"):
            texts = getattr(self, name)
            if isinstance(texts, str) or len(texts) != STEPS or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"`{name}` must be {STEPS} texts, got {texts!r}")
        kinds = self.kinds
        if isinstance(kinds, str) or not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(KINDS):
            raise ValueError(f"`kinds` must be a list of rate, choose or both, got {kinds!r}")
        for name, least in (("answers_per_question", 1), ("questions_per_rater", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is None and name == "questions_per_rater":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}")
        for name in ("repeats", "checks"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not (math.isfinite(value) and 0 <= value <= 0.5):
                raise ValueError(f"`{name}` must be a share in [0, 0.5], got {value!r}")


def read_study(path: Path) -> Study:
    """Read the settings of a study.

    Raises:
        ValueError: if the file cannot be read, or a setting is unknown or out of range.
        TypeError: for a setting of a wrong type.
    """
    import yaml

    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the study {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"the study {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the study {path} must be a mapping of settings")
    known = [field.name for field in dataclasses.fields(Study)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown setting `{name}` in {path}{nearest(str(name), known)}")
    return Study(**values)


def write_study(study: Study, path: Path) -> None:
    """Write the settings of a study, for people to change.

    Raises:
        OSError: if it cannot be written.
    """
    import yaml

    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(study).items()
    }
    with replacing(path) as part:
        part.write_text(
            "# A study of how much of the meaning of pictures is kept; docs/people.md says what the settings do.\n"
            + yaml.safe_dump(values, sort_keys=False, width=110, allow_unicode=True),
            encoding="utf-8",
        )


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Args:
        key: what tells it apart, from what the images hold, wherever they lie.
        kind: rate or choose.
        origin: path of the original.
        recon: path of what is to be rated, or of one of the two to choose from.
        other: path of the other; empty for a rating.
        codec: what ``recon`` was made by.
        other_codec: likewise of ``other``.
        check: whether it is a check with identical images.
    """

    key: str
    kind: Kind
    origin: str
    recon: str
    other: str = ""
    codec: str = ""
    other_codec: str = ""
    check: bool = False


@dataclass(frozen=True)
class Catalogue:
    """All questions of a study.

    Args:
        study: the settings.
        questions: the questions proper, by key.
        checks: those with identical images, by key.
        names: what originals are called, by path.
        signature: what tells the study apart: what is asked, about which images.
    """

    study: Study
    questions: Mapping[str, Question]
    checks: Mapping[str, Question]
    names: Mapping[str, str]
    signature: str

    def __getitem__(self, key: str) -> Question:
        """Return a question by its key."""
        return self.questions.get(key) or self.checks[key]

    @property
    def images(self) -> list[str]:
        """The paths of all images."""
        everything = itertools.chain(self.questions.values(), self.checks.values())
        paths = (path for each in everything for path in (each.origin, each.recon, each.other) if path)
        return sorted(set(paths))


def catalogue(pairs: Iterable[FilePair], study: Study) -> Catalogue:
    """Return the questions that pairs of images give.

    Every pair is a question of the kind *rate*, and every two reconstructions of one original one of the kind *choose*.
    Every original and every reconstruction is a check beside itself.

    Args:
        pairs: originals and reconstructions, those without a partner left out.
        study: the settings.

    Raises:
        ValueError: if an image cannot be read, or there is no question.
    """
    by_origin: dict[str, list[FilePair]] = {}
    for pair in pairs:
        by_origin.setdefault(str(Path(pair.origin).absolute()), []).append(pair)
    labels = _labels({pair.recon_folder for members in by_origin.values() for pair in members})
    digests: dict[str, str] = {}
    questions: list[Question] = []
    checks: list[Question] = []
    for origin, members in by_origin.items():
        recons = [(str(Path(pair.recon).absolute()), labels[pair.recon_folder]) for pair in members]
        for path in (origin, *(path for path, _ in recons)):
            if path not in digests:
                digests[path] = _digest(path)
        if "rate" in study.kinds:
            questions += [_question("rate", digests, origin, recon) for recon in recons]
            checks.append(_question("rate", digests, origin, (origin, ""), check=True))
        if "choose" in study.kinds:
            questions += [
                _question("choose", digests, origin, *sorted(both)) for both in itertools.combinations(recons, 2)
            ]
            checks += [_question("choose", digests, origin, recon, recon, check=True) for recon in recons]
    if not questions:
        raise ValueError("these images give no question: to choose, an original needs two reconstructions")
    found = {question.key: question for question in questions}
    text = "|".join([*study.kinds, *study.steps, *study.meanings, study.instructions, *sorted(found)])
    return Catalogue(
        study,
        found,
        {check.key: check for check in checks},
        {origin: members[0].name for origin, members in by_origin.items()},
        f"study:{hashlib.sha256(text.encode()).hexdigest()[:12]}",
    )


def _question(
    kind: Kind,
    digests: Mapping[str, str],
    origin: str,
    recon: tuple[str, str],
    other: tuple[str, str] = ("", ""),
    *,
    check: bool = False,
) -> Question:
    content = [digests[path] for path in (origin, recon[0], other[0]) if path]
    key = hashlib.sha256("|".join([kind, content[0], *sorted(content[1:])]).encode()).hexdigest()[:20]
    return Question(key, kind, origin, recon[0], other[0], recon[1], other[1], check)


def _labels(folders: Iterable[str]) -> dict[str, str]:
    """Return what tells folders apart: the fewest last parts of their paths."""
    parts = {folder: Path(folder).parts or ("",) for folder in folders}
    for length in range(1, max(map(len, parts.values()), default=1) + 1):
        labels = {folder: "/".join(own[-length:]) for folder, own in parts.items()}
        if len(set(labels.values())) == len(labels):
            return labels
    return {folder: folder for folder in parts}


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
