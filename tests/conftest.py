"""Turns on run-time checking of tensor shapes for every test."""

from jaxtyping import install_import_hook

hook = install_import_hook("torchmetrics_sess", "beartype.beartype")
