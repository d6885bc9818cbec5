"""Lets ``python -m torchmetrics_sess.cli`` do what ``sess`` does."""

from torchmetrics_sess.cli.app import main

main()
