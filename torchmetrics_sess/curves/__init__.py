"""Curves of quality over rate, SNR or channel uses: read, compared by Bjøntegaard's deltas, and drawn."""

from torchmetrics_sess.curves.curve import AXES, Curve
from torchmetrics_sess.curves.delta import Delta, delta, deltas
from torchmetrics_sess.curves.figure import plot_curves
from torchmetrics_sess.curves.files import read_curves, write_compressai
from torchmetrics_sess.curves.verdict import disagreements

__all__ = [
    "AXES",
    "Curve",
    "Delta",
    "delta",
    "deltas",
    "disagreements",
    "plot_curves",
    "read_curves",
    "write_compressai",
]
