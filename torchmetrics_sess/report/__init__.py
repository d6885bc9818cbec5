"""The report of ``sess report``: results in, one HTML page out."""

from torchmetrics_sess.results import Results, read_results

__all__ = ["Results", "read_results"]
