"""Pairs with NaN are an error or are left out, and what is out of range is an error or is clamped: as one wishes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import jaxtyping
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from stub_extractor import stub_images, stub_preset
from torch import Tensor
from torchmetrics import MetricCollection

from torchmetrics_sess import SemanticSimilarityScore, semantic_similarity_score

PREDS, TARGET = stub_images(5, seed=1), stub_images(5, seed=2)
BROKEN = PREDS.clone()
BROKEN[1, 0, 0, 0] = torch.nan
BROKEN[3, 2, 7, 11] = torch.inf
LEFT = [0, 2, 4]


def metric(**arguments: Any) -> SemanticSimilarityScore:
    return SemanticSimilarityScore(stub_preset(), **{"nan": "skip", "reduction": "none", **arguments})


def test_the_others_are_scored_and_the_skipped_counted() -> None:
    expected = metric()(PREDS[LEFT], TARGET[LEFT])
    skipping = metric()
    with pytest.warns(UserWarning, match="2 of 5 pairs are skipped, because an image has NaN or infinite values"):
        assert torch.equal(skipping(BROKEN, TARGET), expected)
    # A second warning would be an error.
    skipping.update(TARGET, BROKEN)
    assert skipping.skipped == 4
    assert len(skipping.compute()) == 6
    skipping.reset()
    assert skipping.skipped == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("method", ["update", "forward"])
def test_if_none_is_left_all_is_as_before_the_first_update(reduction: str, method: str) -> None:
    skipping = metric(reduction=reduction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(skipping, method)(BROKEN[[1, 3]], TARGET[[1, 3]])
    assert not skipping.update_called
    with pytest.warns(UserWarning, match="was called before the ``update`` method"):
        assert torch.equal(skipping.compute(), torch.zeros(0) if reduction == "none" else torch.tensor(0.0))
    skipping.update(PREDS, TARGET)
    assert torch.equal(skipping.compute(), metric(reduction=reduction)(PREDS, TARGET))
    assert skipping.skipped == 2


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_function_agrees(reduction: Any) -> None:
    with pytest.warns(UserWarning, match="2 of 5 pairs"):
        score = semantic_similarity_score(BROKEN, TARGET, stub_preset(), reduction=reduction, nan="skip")
    assert torch.equal(score, semantic_similarity_score(PREDS[LEFT], TARGET[LEFT], stub_preset(), reduction=reduction))
    with pytest.warns(UserWarning, match="1 of 1 pairs"):
        nothing = semantic_similarity_score(BROKEN[1:2], TARGET[1:2], stub_preset(), reduction=reduction, nan="skip")
    assert torch.equal(nothing, torch.zeros(0) if reduction == "none" else torch.tensor(0.0))


def test_by_default_both_are_errors() -> None:
    strict = SemanticSimilarityScore(stub_preset())
    with pytest.raises(ValueError, match="`preds` must be finite, got NaN in image 1"):
        strict.update(BROKEN, TARGET)
    with pytest.raises(ValueError, match="`target` must lie in `data_range`"):
        strict.update(PREDS, 2 * TARGET)


def test_what_is_out_of_range_is_clamped_if_asked_for() -> None:
    stretched = 1.2 * PREDS - 0.1
    expected = metric()(stretched.clamp(0, 1), TARGET)
    assert torch.equal(metric(out_of_range="clamp")(stretched, TARGET), expected)
    found = semantic_similarity_score(stretched, TARGET, stub_preset(), reduction="none", out_of_range="clamp")
    assert torch.equal(found, expected)
    explanation = metric(out_of_range="clamp").explain(stretched[0], TARGET[0])
    assert explanation.score == pytest.approx(expected[0].item(), abs=1e-6)


def test_an_image_that_is_not_finite_cannot_be_explained() -> None:
    with pytest.raises(ValueError, match="`preds` must be finite"):
        metric().explain(BROKEN[1], TARGET[1])


def test_metrics_that_differ_in_this_are_kept_apart_in_a_collection() -> None:
    both = MetricCollection({"strict": metric(nan="raise", reduction="mean"), "skipping": metric(reduction="mean")})
    both.update(PREDS, TARGET)
    assert len(both.compute_groups) == 2


@pytest.mark.parametrize("arguments", [{"nan": "ignore"}, {"out_of_range": "skip"}])
def test_other_wishes_are_refused(arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    [name] = arguments
    with pytest.raises(ValueError, match=f"`{name}` must be 'raise' or"):
        SemanticSimilarityScore(stub_preset(), **cast(Any, arguments))


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*`isinstance.treespec, LeafSpec.` is deprecated.*")
def test_the_callback_draws_the_worst_of_those_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch import Trainer
    from tiny_codec import TinyCodec
    from torch.utils.data import DataLoader, TensorDataset

    from torchmetrics_sess.integrations import SeSSCallback

    worst: list[Tensor] = []

    class Validated(TinyCodec):
        def validation_step(self, batch: list[Tensor], index: int) -> dict[str, Tensor]:
            return {"recon": BROKEN, "image": TARGET}

    monkeypatch.setattr(SeSSCallback, "_draw", lambda self, trainer, module, seen, name: worst.append(seen.worst[0]))
    callback = SeSSCallback("recon", "image", preset=stub_preset(), nan="skip")
    trainer = Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(tmp_path),
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    scores = metric()(PREDS[LEFT], TARGET[LEFT])
    with pytest.warns(UserWarning, match="2 of 5 pairs are skipped"):
        [logged] = trainer.validate(Validated(), DataLoader(TensorDataset(TARGET[:1])), verbose=False)
    assert logged["val/sess"] == pytest.approx(scores.mean().item(), abs=1e-6)
    assert torch.equal(worst[0], PREDS[LEFT][scores.argmin()])
    assert callback.metrics[0].skipped == 2
