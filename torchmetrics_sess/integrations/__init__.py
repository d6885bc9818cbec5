"""SeSS inside other programs: a callback for Lightning's Trainer."""

from torchmetrics_sess.integrations.lightning import SeSSCallback

__all__ = ["SeSSCallback"]
