"""Where the weights of the networks come from, where they are kept, and that they are what they should be.

``SESS_HOME`` moves the cache folder; ``SESS_OFFLINE=1`` forbids any download.
"""

from torchmetrics_sess.weights.registry import WEIGHTS
from torchmetrics_sess.weights.store import fetch, fetch_all, home, is_offline, path_of, sha256_of, verify
from torchmetrics_sess.weights.weight import CorruptWeightError, MissingWeightError, Weight

__all__ = [
    "WEIGHTS",
    "CorruptWeightError",
    "MissingWeightError",
    "Weight",
    "fetch",
    "fetch_all",
    "home",
    "is_offline",
    "path_of",
    "sha256_of",
    "verify",
]
