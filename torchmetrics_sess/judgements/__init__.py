"""What people say about images: asked for, read, compared with metrics, and fitted to.

``docs/people.md`` leads from nothing to a tuned preset.
"""

from torchmetrics_sess.judgements.agreement import agreement, choice_statistics, rating_statistics
from torchmetrics_sess.judgements.analysis import Analysis, analyse
from torchmetrics_sess.judgements.answers import Answer, Answers, Table, read_answers, tabulate, write_answers
from torchmetrics_sess.judgements.codecs import Codec, compare_codecs
from torchmetrics_sess.judgements.datasets import Judgements
from torchmetrics_sess.judgements.raters import Rater, Reliability, reliability, screen
from torchmetrics_sess.judgements.study import Catalogue, Study, catalogue, read_study, write_study
from torchmetrics_sess.judgements.trials import VARIABLE, Range, Trials
from torchmetrics_sess.judgements.tuning import ChoiceTarget, Gain, RatingTarget, Tuned, tune

__all__ = [
    "VARIABLE",
    "Analysis",
    "Answer",
    "Answers",
    "Catalogue",
    "ChoiceTarget",
    "Codec",
    "Gain",
    "Judgements",
    "Range",
    "Rater",
    "RatingTarget",
    "Reliability",
    "Study",
    "Table",
    "Trials",
    "Tuned",
    "agreement",
    "analyse",
    "catalogue",
    "choice_statistics",
    "compare_codecs",
    "rating_statistics",
    "read_answers",
    "read_study",
    "reliability",
    "screen",
    "tabulate",
    "tune",
    "write_answers",
    "write_study",
]
