"""The command line, ``sess``."""

from torchmetrics_sess.cli.app import app, main

__all__ = ["app", "main"]
