"""Draws docs/images/explanation.png: the astronaut against a copy in which her head is painted over.

From the root of a clone with ``pip install ".[test]"``: ``PYTHONPATH=. python .ci/draw_explanation.py``.
"""

from pathlib import Path

from benchmarks.shared.photographs import OBJECTS, load_photographs
from benchmarks.trust.edits import erase
from torchmetrics_sess import explain
from torchmetrics_sess.images import image_tensor

photograph, head = load_photographs()["astronaut"], OBJECTS["astronaut"]
if head is None:
    raise ValueError("`OBJECTS` must say where the head of the astronaut is")
explanation = explain(image_tensor(erase(photograph, head)), image_tensor(photograph))
path = Path(__file__).parents[1] / "docs" / "images" / "explanation.png"
# As many pixels as a page shows.
explanation.plot()[0].savefig(path, dpi=160)
