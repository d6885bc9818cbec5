"""Importing the package costs little: what is heavy is imported where it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap

import pytest

import torchmetrics_sess

HEAVY = {
    "matplotlib",
    "numba",
    "onnx",
    "open_clip",
    "scipy",
    "segment_anything",
    "torchvision",
    "transformers",
}


def run(code: str) -> list[str]:
    """Run code in a fresh interpreter and return what it prints, by line."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_nothing_heavy_is_imported_beside_what_torchmetrics_imports() -> None:
    # What torchmetrics itself has imported would hide a second import; so the statements are watched as well.
    lines = run("""
        import builtins, sys, torchmetrics
        before, wanted, plain = set(sys.modules), set(), builtins.__import__

        def watched(name, globals=None, *rest):
            if str((globals or {}).get("__name__")).startswith("torchmetrics_sess"):
                wanted.add(name)
            return plain(name, globals, *rest)

        builtins.__import__ = watched
        from torchmetrics_sess import *
        from torchmetrics_sess.presets import load_preset
        load_preset("lite")
        print(*sorted((set(sys.modules) - before) | wanted), sep="\\n")
    """)
    for name in ("metric", "extractor", "config", "explanation", "matching"):
        assert f"torchmetrics_sess.{name}" in lines
    assert {line.partition(".")[0] for line in lines} & HEAVY == set()


def test_the_package_alone_does_not_even_import_torch() -> None:
    lines = run("import sys, torchmetrics_sess; print(*sys.modules, sep='\\n')")
    assert "torchmetrics_sess" in lines
    assert "torch" not in lines


def test_the_public_names_are_those_of_the_specification() -> None:
    assert set(torchmetrics_sess.__all__) == {
        "Explanation",
        "SceneGraph",
        "SceneGraphExtractor",
        "SemanticSimilarityLoss",
        "SemanticSimilarityScore",
        "__version__",
        "explain",
        "group_objects",
        "release_networks",
        "semantic_similarity_loss",
        "semantic_similarity_score",
    }
    assert set(dir(torchmetrics_sess)) >= set(torchmetrics_sess.__all__)
    for name in torchmetrics_sess.__all__:
        assert getattr(torchmetrics_sess, name) is not None
    with pytest.raises(AttributeError, match="module 'torchmetrics_sess' has no attribute 'SSIM'"):
        _ = torchmetrics_sess.SSIM


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("matching", ["MatchingConfig", "match_graphs"]),
        ("importance", ["object_importance", "spectral_residual"]),
        ("segmenters", ["SamSegmenter", "DinoSegmenter"]),
        ("relations", ["PREDICATES", "RelationHead", "RamRelationModel"]),
        ("encoders", ["OpenClipEncoder", "DinoEncoder"]),
    ],
)
def test_the_seams_are_where_the_specification_says(module: str, names: list[str]) -> None:
    imported = importlib.import_module(f"torchmetrics_sess.{module}")
    assert all(hasattr(imported, name) for name in names)
