import copy
import dataclasses
import gc
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from stub_extractor import BUILT, QuarterSegmenter, SegmenterSettings, stub_extractor, stub_images, stub_preset

from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.presets import Preset
from torchmetrics_sess.presets.pool import GivenNetworks, Networks, PooledNetworks, keep_networks, pooled_networks

CPU = torch.device("cpu")


def test_one_set_of_networks_for_all_who_want_the_same() -> None:
    BUILT.clear()
    first, second = PooledNetworks(stub_preset("shared")), PooledNetworks(stub_preset("shared"))
    assert BUILT == [], "nothing is built before it is needed"
    assert first.on(CPU) is second.on(CPU) is first.on(CPU)
    assert len(BUILT) == 1


def test_matching_takes_no_part_in_the_networks() -> None:
    plain = PooledNetworks(stub_preset("shared"))
    changed = PooledNetworks(stub_preset("shared", MatchingConfig(iterations=2)))
    assert plain.on(CPU) is changed.on(CPU)


def test_nor_does_the_baseline() -> None:
    preset = stub_preset("shared")
    assert pooled_networks(preset, CPU) is pooled_networks(dataclasses.replace(preset, baseline=0.4), CPU)


def test_other_settings_or_another_device_make_other_networks() -> None:
    sources = [PooledNetworks(stub_preset("shared")), PooledNetworks(stub_preset("other"))]
    assert sources[0].on(CPU) is not sources[1].on(CPU)
    assert sources[0].on(CPU) is not pooled_networks(sources[0].preset, torch.device("meta"))


def test_weights_that_were_replaced_in_place_make_other_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = stub_preset("replaced")
    source = PooledNetworks(preset)
    before = source.on(CPU), keep_networks(preset, CPU)
    monkeypatch.setattr("stub_extractor.NoWeights.digests", lambda self: ["01234567"])
    assert PooledNetworks(preset).on(CPU) is not before[0]
    assert keep_networks(preset, CPU) is not before[1]
    assert source.on(CPU) is before[0], "a metric does not change in the midst of an epoch"


@pytest.mark.parametrize("ask", [pooled_networks, keep_networks])
def test_a_device_without_a_number_is_the_current_one(
    ask: Callable[[Preset, torch.device], Networks], monkeypatch: pytest.MonkeyPatch
) -> None:
    current = 0
    extractors = iter([stub_extractor(), stub_extractor()])

    def empty(*size: int, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(device=torch.device("cuda", current))

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(Preset, "build", lambda preset, device: next(extractors))
    preset, device = stub_preset(f"current, {ask.__name__}"), torch.device("cuda")
    first = ask(preset, device)
    assert ask(preset, device) is first
    current = 1
    assert ask(preset, device) is not first


def test_networks_go_with_the_last_who_asked() -> None:
    first, second = PooledNetworks(stub_preset("freed")), PooledNetworks(stub_preset("freed"))
    extractor = weakref.ref(first.on(CPU).extractor)
    second.on(CPU)
    del first
    gc.collect()
    assert extractor() is not None
    second.on(torch.device("meta"))
    gc.collect()
    assert extractor() is None, "whoever moves to another device lets go of the first"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda source: pickle.loads(pickle.dumps(source))])  # noqa: S301
def test_copies_hold_the_preset_alone(copied: Callable[[PooledNetworks], PooledNetworks]) -> None:
    source = PooledNetworks(stub_preset("copied"))
    extractor = weakref.ref(source.on(CPU).extractor)
    other = copied(source)
    assert other.on(CPU) is source.on(CPU)
    assert len(pickle.dumps(source)) < 2000
    fresh = copied(source)
    del source, other
    gc.collect()
    assert extractor() is None
    assert fresh.on(CPU).extractor is not None


def test_many_threads_build_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(settings: SegmenterSettings, device: torch.device) -> QuarterSegmenter:
        BUILT.append(device)
        time.sleep(0.05)
        return QuarterSegmenter()

    monkeypatch.setattr(SegmenterSettings, "build", build)
    BUILT.clear()
    start = threading.Barrier(6)
    found: list[Networks] = []

    def ask() -> None:
        start.wait()
        found.append(pooled_networks(stub_preset("threads"), CPU))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(BUILT) == 1
    assert all(networks is found[0] for networks in found)
    assert len(found) == 6


def test_a_failed_build_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: SegmenterSettings, device: torch.device) -> QuarterSegmenter:
        raise OSError("no weights")

    source = PooledNetworks(stub_preset("failing"))
    with monkeypatch.context() as patch:
        patch.setattr(SegmenterSettings, "build", fail)
        with pytest.raises(OSError, match="no weights"):
            source.on(CPU)
    assert source.on(CPU).extractor is not None


def test_given_networks_are_shared_by_copies_and_contained_in_pickles() -> None:
    networks = Networks(stub_extractor(), torch.eye(56))
    source = GivenNetworks(networks)
    assert copy.copy(source).on(CPU) is copy.deepcopy(source).on(CPU) is networks
    pickled = pickle.dumps(source)
    del source, networks
    restored = pickle.loads(pickled).on(CPU)  # noqa: S301
    [graph], [expected] = restored.extractor(stub_images(1)), stub_extractor()(stub_images(1))
    assert torch.equal(graph.features, expected.features)
