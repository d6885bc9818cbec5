"""Two scene graphs in, one score out: the last stage, after Fan et al. (IEEE IoT-J 2024, arXiv 2406.03865)."""

from torchmetrics_sess.matching.config import MatchingConfig
from torchmetrics_sess.matching.pairs import (
    GraphGradient,
    MatchResult,
    PreparedPairs,
    differentiate_graph_pairs,
    load_kernel,
    match_graph_pairs,
    match_graphs,
)

__all__ = [
    "GraphGradient",
    "MatchResult",
    "MatchingConfig",
    "PreparedPairs",
    "differentiate_graph_pairs",
    "load_kernel",
    "match_graph_pairs",
    "match_graphs",
]
