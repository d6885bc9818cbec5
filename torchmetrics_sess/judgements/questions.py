"""Which question comes next.

1. Of every ten, some are checks with identical images and some repeat an earlier question, by the shares that the study
   sets; of two images to choose from, each is left as often as right.
2. Every question is asked until it has as many answers as the study wants, those with the fewest answers first, in an
   order of each rater's own. No rater gets one twice, but for repeats.
3. Then come those that separate codecs best: questions about the two codecs whose means are told apart least, by the
   difference in units of its standard error.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from torchmetrics_sess.judgements.answers import Answer, Kind
from torchmetrics_sess.judgements.storage import Storage, Turn
from torchmetrics_sess.judgements.study import Catalogue, Question

# So many questions of one kind, before those of the other come.
_BLOCK = 10
# A question is not repeated before so many others.
_APART = 5

Separation: TypeAlias = Mapping[tuple[Kind, str, str], float]
"""How well two codecs are told apart, by the kind of question and their names in order."""


def next_turn(catalogue: Catalogue, storage: Storage, rater: str, turns: Sequence[Turn]) -> Turn | None:
    """Return the next turn of a rater, or ``None`` if the study is over for them.

    Args:
        catalogue: all questions.
        storage: what was answered so far, by everybody.
        rater: who is asked.
        turns: what they were asked so far.
    """
    study, position = catalogue.study, len(turns)
    if study.questions_per_rater is not None and position >= study.questions_per_rater:
        return None
    chance = random.Random(f"{study.seed}|{rater}|{position}")  # noqa: S311 - nothing is to be kept secret
    kind = study.kinds[position // _BLOCK % len(study.kinds)]
    drawn = chance.random()
    if position > 1 and drawn < study.checks:
        checks = [check for check in catalogue.checks.values() if check.kind == kind]
        return Turn(rater, position, chance.choice(checks).key, "check", False)
    if drawn > 1 - study.repeats:
        repeated = {turn.question for turn in turns if turn.role == "repeat"}
        earlier = [
            turn
            for turn in turns[: max(0, position - _APART)]
            if turn.role == "question" and turn.question not in repeated and catalogue[turn.question].kind == kind
        ]
        if earlier:
            turn = chance.choice(earlier)
            return Turn(rater, position, turn.question, "repeat", kind == "choose" and not turn.flipped)

    asked = {turn.question for turn in turns}
    left = [question for question in catalogue.questions.values() if question.key not in asked]
    answered, open_ = storage.counts()
    wanting = [question for question in left if answered.get(question.key, 0) < study.answers_per_question]
    # The kind whose turn it is, if there is one of it.
    due = wanting or left
    due = [question for question in due if question.kind == kind] or due
    if not due:
        return None
    own_order = {question.key: chance.random() for question in due}
    if wanting:
        best = min(
            due,
            key=lambda each: (answered.get(each.key, 0) + open_.get(each.key, 0), own_order[each.key]),
        )
    else:
        apart = separation(storage.answers())
        best = min(due, key=lambda each: (_told_apart(each, apart), answered.get(each.key, 0), own_order[each.key]))
    return Turn(rater, position, best.key, "question", best.kind == "choose" and chance.random() < 0.5)


def separation(answers: Iterable[Answer]) -> Separation:
    """Return how well every two codecs are told apart: the difference of their means over its standard error.

    Of ratings, it is the difference of mean ratings; of choices, how far the share of those who prefer either is from a
    half. Codecs of fewer than two answers are not told apart at all.
    """
    ratings: dict[str, list[float]] = {}
    choices: dict[tuple[str, str], list[float]] = {}
    for answer in answers:
        if answer.role != "question":
            continue
        if answer.kind == "rate":
            ratings.setdefault(answer.codec, []).append(answer.value)
        else:
            first, second = sorted((answer.codec, answer.other_codec))
            choices.setdefault((first, second), []).append(answer.value if answer.codec == first else 1 - answer.value)
    found: dict[tuple[Kind, str, str], float] = {}
    for a, b in itertools.combinations(sorted(ratings), 2):
        found["rate", a, b] = _over_error(
            _mean(ratings[a]) - _mean(ratings[b]), _variance(ratings[a]) + _variance(ratings[b])
        )
    for (a, b), values in choices.items():
        found["choose", a, b] = _over_error(_mean(values) - 0.5, _variance(values))
    return found


def _told_apart(question: Question, apart: Separation) -> float:
    """Return how well the codecs of a question are told apart: of a rating, its codec and the one nearest to it."""
    if question.kind == "choose":
        first, second = sorted((question.codec, question.other_codec))
        return apart.get(("choose", first, second), 0.0)
    return min(
        (value for (kind, *both), value in apart.items() if kind == "rate" and question.codec in both), default=0.0
    )


def _over_error(difference: float, squared_error: float) -> float:
    if math.isnan(squared_error) or difference == 0:
        return 0.0
    return math.inf if squared_error == 0 else abs(difference) / math.sqrt(squared_error)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    """Return the variance of the mean; NaN for a single value."""
    if len(values) < 2:
        return math.nan
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
