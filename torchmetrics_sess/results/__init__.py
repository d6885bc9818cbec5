"""Results of pairs of files: what is known of one, the files that say it, and what many come to."""

from torchmetrics_sess.results.files import Results, read_results
from torchmetrics_sess.results.rows import COLUMNS, OK, Row, from_json, json_number, to_json
from torchmetrics_sess.results.summary import FolderSummary, Summary, summarise

__all__ = [
    "COLUMNS",
    "OK",
    "FolderSummary",
    "Results",
    "Row",
    "Summary",
    "from_json",
    "json_number",
    "read_results",
    "summarise",
    "to_json",
]
