"""The report of ``sess report``: results in, one HTML page out."""

from torchmetrics_sess.report.results import Results, Row, read_results

__all__ = ["Results", "Row", "read_results"]
