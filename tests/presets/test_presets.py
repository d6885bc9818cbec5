from __future__ import annotations

import copy
import dataclasses
import pickle
import typing
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any

import pytest
import yaml

import torchmetrics_sess
from torchmetrics_sess.config import describe
from torchmetrics_sess.presets import Preset, Tuning, files, load_preset, preset_names, preset_yaml, presets_with
from torchmetrics_sess.relations import GeometricRelationsConfig
from torchmetrics_sess.segmenters import DinoSegmenterConfig
from torchmetrics_sess.weights import WEIGHTS, MissingWeightError

FOLDER = Path(__file__).parents[2] / "configs" / "presets"
SECTIONS = ("segmenter", "relations", "encoder", "importance", "matching")
# What an override of a text may be; any other text must be one of a choice.
TEXTS = {
    "encoder.model": "ViT-L-14",
    "encoder.pretrained": "openai",
    "relations.checkpoint": str(Path(__file__).parents[1] / "data" / "tiny_ram.pth"),
}


def settings(preset: Preset) -> dict[str, tuple[Any, Any, bool]]:
    """Return value, type and whether it can change scores, of every setting by its dotted name."""
    found = {}
    for section in SECTIONS:
        config = getattr(preset, section)
        hints = typing.get_type_hints(type(config))
        for field in (field for field in dataclasses.fields(config) if field.init):
            value = getattr(config, field.name)
            # A relation head shows by the digest of its file.
            shows = "short" in field.metadata or field.name == "checkpoint"
            found[f"{section}.{field.name}"] = (value, hints[field.name], shows)
    for name in ("relation_similarity", "max_width"):
        found[name] = (getattr(preset, name), typing.get_type_hints(Preset)[name], True)
    return found


def another(name: str, value: Any, hint: Any) -> Any:
    """Return a valid value other than ``value``."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)
    if typing.get_origin(hint) is typing.Literal:
        return next(choice for choice in typing.get_args(hint) if choice != value)
    if bool in options:
        return not value
    if int in options:
        return {"segmenter.image_size": 350}.get(name, 1 if value is None else value + 1)
    if float in options:
        return value * 0.9999 if value else 0.0001
    return TEXTS[name]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_says_so_in_its_signature(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert load_preset(FOLDER / f"{name}.yaml") == preset
    parts = preset.signature().split("|")
    assert parts[:2] == ["SeSS", f"preset:{name}"]
    assert parts[-1] == f"v{torchmetrics_sess.__version__}"
    assert [part.partition(":")[0] for part in parts[2:7]] == ["seg", "rel", "enc", "imp", "match"]
    for stage in (preset.segmenter, preset.relations, preset.encoder):
        for weight in stage.weights():
            assert name in presets_with([weight])
            assert WEIGHTS[weight].sha256[:8] in preset.signature()


def test_the_presets_of_the_issue_are_there() -> None:
    assert {"lite", "reference", "reference-bf16", "sam-b"} <= set(preset_names())
    assert preset_names() == sorted(path.stem for path in FOLDER.glob("*.yaml"))


def test_the_signature_has_the_form_that_is_documented() -> None:
    preset = load_preset("lite", {"segmenter.iterations": 2, "matching.iterations": 5})
    assert isinstance(preset.relations, GeometricRelationsConfig)
    network, adapters = preset.segmenter.digests()
    descriptors = preset.encoder.digests()[0]
    assert preset.signature() == (
        "SeSS|preset:lite*"
        f"|seg:dino,px336,layer10,grid8,it2,tau0.1,c0.05,adapters:lite,{network},{adapters}"
        f"|rel:geometric,min{preset.relations.min_score},max{preset.relations.max_triplets}"
        f"|enc:dino,lite,{descriptors}"
        f"|imp:{describe(preset.importance)}"
        f"|match:{describe(preset.matching)}"
        "|R:minilm|widthNone|dtype:float32"
        f"|v{torchmetrics_sess.__version__}"
    )
    long = preset.signature(long=True)
    for part in ("image_size=336", "temperature=0.1", "iterations=5", "k1=", "relation_similarity=minilm"):
        assert part in long
    assert long.split("|")[-1] == preset.signature().split("|")[-1]


@pytest.mark.parametrize(
    ("preset", "setting"), [(name, setting) for name in preset_names() for setting in settings(load_preset(name))]
)
def test_a_setting_shows_in_the_signature_if_and_only_if_it_can_change_scores(preset: str, setting: str) -> None:
    original = load_preset(preset)
    value, hint, changes_scores = settings(original)[setting]
    changed_value = another(setting, value, hint)
    if (setting, changed_value) == ("relation_similarity", "text"):
        with pytest.raises(ValueError, match="`relation_similarity` is 'text', but the encoder 'dino' embeds no text"):
            load_preset(preset, {setting: changed_value})
        return
    changed = load_preset(preset, {setting: changed_value})
    assert settings(changed)[setting][0] == changed_value
    assert changed != original
    for long in (False, True):
        assert (changed.signature(long=long) != original.signature(long=long)) is changes_scores
    assert changed.name == (f"{preset}*" if changes_scores else preset)
    without_mark = dataclasses.replace(changed, name=preset)
    assert (without_mark.signature() != original.signature()) is changes_scores


def test_overriding_a_setting_with_itself_changes_nothing() -> None:
    assert load_preset("lite", {"segmenter.layer": 10}) == load_preset("lite", {}) == load_preset("lite")


def test_a_baseline_is_that_of_the_settings_it_was_measured_with() -> None:
    lite = load_preset("lite")
    assert lite.baseline is not None
    assert 0 < lite.baseline < 0.3
    assert load_preset("lite", {"matching.iterations": 5}).baseline is None
    assert load_preset("lite", {"segmenter.images_per_batch": 1}).baseline == lite.baseline, "which changes no score"
    assert load_preset("lite", {"matching.iterations": 5, "baseline": 0.5}).baseline == 0.5
    own = load_preset("lite", {"baseline": 0.5})
    assert (own.name, own.baseline, own.signature()) == ("lite", 0.5, lite.signature())
    assert load_preset("reference").baseline is None


def test_overrides_may_take_whole_sections_and_several_settings() -> None:
    preset = load_preset("lite", {"matching": {"iterations": 2}, "matching.alpha": 1, "max_width": 400})
    assert (preset.matching.iterations, preset.matching.alpha, preset.max_width) == (2, 1.0, 400)
    assert preset.matching.assignment == "one_to_one"
    # The file itself is read anew.
    assert load_preset("lite").matching.assignment == "transport"


def test_another_kind_of_stage_starts_from_its_own_defaults() -> None:
    preset = load_preset("reference", {"relations.kind": "geometric", "relations.max_triplets": 7})
    assert preset.relations == GeometricRelationsConfig(max_triplets=7)
    assert load_preset("reference", {"segmenter.kind": "dino"}).segmenter == DinoSegmenterConfig()


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"matching.iteration": 3}, ValueError, "unknown setting `matching.iteration`; did you mean `matching.iterat"),
        ({"segmenter.image": 3}, ValueError, "unknown setting `segmenter.image`; did you mean `segmenter.image_size`"),
        ({"matchin.iterations": 3}, ValueError, "unknown setting `matchin`; did you mean `matching`?"),
        ({"max_widt": 3}, ValueError, "unknown setting `max_widt`; did you mean `max_width`?"),
        ({"name": "mine"}, ValueError, "unknown setting `name`; "),
        ({"segmenter.kind": "dinov2"}, ValueError, "`segmenter.kind` must be one of 'dino', 'sam', got 'dinov2'"),
        ({"segmenter.kind": ["dino"]}, ValueError, "`segmenter.kind` must be one of 'dino', 'sam', got ['dino']"),
        ({"segmenter": "dino"}, TypeError, "`segmenter` must be a mapping of settings, got 'dino'"),
        ({"matching": None}, TypeError, "`matching` must be a mapping of settings, got None"),
        ({"matching.iterations": "3"}, TypeError, "`matching.iterations` must be int, got '3' (str)"),
        ({"matching.update_order": "up"}, ValueError, "`matching.update_order` must be one of 'sequential', 'synchr"),
        ({"matching.alpha": 2.0}, ValueError, "`alpha` must be in [0, 1], got 2.0"),
        ({"segmenter.image_size": 335}, ValueError, "`image_size` must be a positive multiple of 14, got 335"),
        ({"max_width": 0}, ValueError, "`max_width` must be at least 1 or None, got 0"),
        ({"baseline": 1.0}, ValueError, "`baseline` must be in [0, 1) or None, got 1.0"),
        ({"baseline": float("nan")}, ValueError, "`baseline` must be in [0, 1) or None, got nan"),
        ({"max_width": "wide"}, TypeError, "`max_width` must be int or NoneType, got 'wide' (str)"),
        ({"relation_similarity": "words"}, ValueError, "`relation_similarity` must be one of 'minilm', 'text'"),
        ({"max_width.x": 1}, TypeError, "`max_width` must be a mapping of settings, got None"),
    ],
)
def test_what_is_wrong_is_named(overrides: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        load_preset("lite", overrides)
    assert message in str(caught.value)


def test_an_unknown_preset_is_met_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'referense'; did you mean `reference`\? \(or the path"):
        load_preset("referense")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    values = yaml.safe_load((FOLDER / "lite.yaml").read_text())
    values["segmenter"]["layer"] = 11
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("form", [str, Path])
def test_a_file_of_ones_own_is_a_preset(own: Path, form: Any) -> None:
    preset = load_preset(form(own))
    assert preset.name == "mine"
    assert isinstance(preset.segmenter, DinoSegmenterConfig)
    assert preset.segmenter.layer == 11
    assert load_preset(form(own), {"matching.iterations": 1}).name == "mine*"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", TypeError, "must be a mapping of settings, got None"),
        (b"- 1\n- 2", TypeError, r"must be a mapping of settings, got \[1, 2\]"),
        (b"a: [", ValueError, "is not valid YAML"),
        (b"\xff\xfe\x00", ValueError, "is not valid YAML"),
        (b"segmenter: {kind: dino}\nencoder: {kind: dino}", ValueError, "'mine' does not say which `relations` to use"),
        (b"segmenter: {layer: 3}", ValueError, "`segmenter.kind` must be one of 'dino', 'sam', got None"),
        (b"segmenter: !!python/object/apply:os.getcwd []", ValueError, "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(
    content: bytes, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        load_preset(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yml cannot be read: No such file or directory"):
        load_preset(tmp_path / "none.yml")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_value(name: str) -> None:
    preset = load_preset(name)
    for same in (load_preset(name), copy.deepcopy(preset), pickle.loads(pickle.dumps(preset))):  # noqa: S301
        assert same == preset
        assert hash(same) == hash(preset)
        assert same.signature() == preset.signature()
    assert preset != load_preset(name, {"matching.iterations": 20})


def test_an_installed_package_carries_its_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tmp_path / "configs" / "presets"
    packaged.mkdir(parents=True)
    (packaged / "packaged.yaml").write_text((FOLDER / "lite.yaml").read_text())
    files._folder.cache_clear()
    real = resources.files
    monkeypatch.setattr(resources, "files", lambda name: tmp_path if name == "torchmetrics_sess" else real(name))
    try:
        assert preset_names() == ["packaged"]
        assert load_preset("packaged").signature().startswith("SeSS|preset:packaged|seg:dino")
    finally:
        files._folder.cache_clear()
        monkeypatch.undo()
    assert "lite" in preset_names()


def test_missing_weights_are_named_when_networks_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_HOME", str(tmp_path))
    with pytest.raises(MissingWeightError, match="sess weights download sam_vit_b"):
        load_preset("sam-b", {"encoder.kind": "dino", "relation_similarity": "minilm"}).build("cpu")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_yaml(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(preset_yaml(load_preset(name)))
    assert load_preset(path) == load_preset(name)


def test_a_tuned_preset_says_so_until_a_setting_is_changed(tmp_path: Path) -> None:
    # The first digits of this digest would be a number, if YAML were not told.
    tuned = Tuning(300, 12, "1234e567" + 56 * "0", "SRCC", 0.031, 0.01, 0.05)
    path = tmp_path / "mine.yaml"
    path.write_text(preset_yaml(dataclasses.replace(load_preset("lite"), name="mine", tuned=tuned)))
    loaded = load_preset(path)
    assert loaded.tuned == tuned
    assert "|tuned:300j,12r,1234e567,SRCC+0.031|" in loaded.signature()
    assert "tuned:" not in load_preset(path, {"matching.theta": 0.3}).signature()
    assert loaded.networks_alone() == load_preset("lite").networks_alone()
    with pytest.raises(ValueError, match="`raters` must not be negative"):
        dataclasses.replace(tuned, raters=-1)
