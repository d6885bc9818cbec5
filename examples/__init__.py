"""Worked examples of the metric; ``README.md`` beside this file shows what comes out."""
