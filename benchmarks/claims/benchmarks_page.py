"""What `benchmarks/README.md` states."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.claims.results import Value, lead, ratio, rows, times, value
from benchmarks.claims.statements import Given, Row, Sentence, Statement

DRAWN, OLD, OWN = "robustness-drawn", "robustness-drawn-0.1", "robustness-own"
SESS, EMBEDDING, MS_SSIM, PSNR = MEASURES = ("SeSS", "embedding", "MS-SSIM", "PSNR")
HARD = "hard ordering, above object erased"


def benchmarks_page() -> list[Statement]:
    return [
        *_robustness(),
        *_recognition(),
        *_pasted(),
        *_objects(),
        *_mild(),
        *_old(),
        *_cost(),
        *_relations(),
        *_small_objects(),
        *_history(),
    ]


def _robustness() -> list[Statement]:
    under = "## Does it see what people see?"

    def row(label: str, changes: Sequence[str]) -> Row:
        values = [value(DRAWN, "SeSS, rescaled", change=change) for change in changes]
        values += [value(DRAWN, f"above, {m}", change=change) for m in MEASURES for change in changes]
        return Row(label, DRAWN, values, under)

    table = [
        row("JPEG 10 / 5", ["JPEG 10", "JPEG 5"]),
        row("WebP 1, AVIF 10", ["WebP 1", "AVIF 10"]),
        row("JPEG 2000, 1:200 (not trained on)", ["JPEG 2000, 1:200"]),
        row("blur 4, 4 × and 8 × fewer pixels a side", ["blur 4", "4x down, up", "8x down, up"]),
        row("noise 50", ["noise 50"]),
        row("coloured noise 50 (1/f)", ["coloured noise 50"]),
        row("packets lost, 15 % (not trained on)", ["packets lost 15 %"]),
        row("Deep JSCC at -5 dB (others like it trained on)", ["Deep JSCC, -5 dB"]),
        Row("**mean of the twelve**", DRAWN, [value(DRAWN, m, number=HARD) for m in MEASURES], under),
    ]
    rescaled = {each["change"]: each["SeSS, rescaled"] for each in rows(DRAWN) if "change" in each}
    lost = [rescaled.get(f"object {what}") for what in ("erased", "cut out", "swapped", "moved")]
    turned = [rescaled.get(f"turned by {angle}°") for angle in (90, 180)]
    table.append(Row("object erased / cut out / swapped / moved", DRAWN, lost, under))
    table.append(Row("turned by 90° / 180°", DRAWN, turned, under))
    cut, swapped = ("hard ordering, above object cut out", "hard ordering, above object swapped")
    old = {each["change"]: each for each in rows(OLD) if "change" in each}
    auc = "AUC, distorted against other"
    untrained = ["JPEG 2000, 1:200", "packets lost 15 %"]
    above = [value(DRAWN, "above, SeSS", change=change) for change in untrained]
    return [
        *table,
        *(
            Row(
                f"above object {what}, over {m}",
                DRAWN,
                [
                    *lead(DRAWN, f"hard ordering, above object {what}", m),
                    value(DRAWN, "p", lead=f"hard ordering, above object {what}", over=m),
                ],
                under,
            )
            for what in ("erased", "cut out", "swapped")
            for m in MEASURES[1:]
        ),
        *(
            Row(
                f"told from other photographs (AUC), over {m}",
                DRAWN,
                [*lead(DRAWN, auc, m), value(DRAWN, "p", lead=auc, over=m)],
                under,
            )
            for m in MEASURES[1:]
        ),
        Sentence(
            "on the same photographs: mean of the twelve {}, lowest {} (coloured noise), JPEG 5 {}, object erased {}, "
            "AUC {}; turned {} / {}.",
            OLD,
            [
                value(OLD, SESS, number=HARD),
                old["coloured noise 50"]["above, SeSS"],
                old["JPEG 5"]["above, SeSS"],
                old["object erased"]["SeSS, rescaled"],
                value(OLD, SESS, number=auc),
                *(old[f"turned by {angle}°"]["SeSS, rescaled"] for angle in (90, 180)),
            ],
        ),
        Sentence("like was trained on have a mean of {}", DRAWN, [_average(above)]),
        Sentence(
            "Above the object *cut out* and *swapped*: {} and {} (embedding {} and {}).",
            DRAWN,
            [value(DRAWN, m, number=number) for m in (SESS, EMBEDDING) for number in (cut, swapped)],
        ),
        Sentence(
            "Told from other photographs (AUC): SeSS {}, embedding {}, MS-SSIM {}, PSNR {}",
            DRAWN,
            [value(DRAWN, m, number=auc) for m in MEASURES],
        ),
        Sentence(
            "(`results/robustness-own.json`): {}, embedding {}; AUC {}.",
            OWN,
            [value(OWN, SESS, number=HARD), value(OWN, EMBEDDING, number=HARD), value(OWN, SESS, number=auc)],
        ),
    ]


def _recognition() -> list[Statement]:
    file, under = "recognition", "## Does it see what people see?"

    def ends(number: str, m: str) -> list[Value]:
        found = [each[f"{number}, interval"] for each in rows(file, measure=m)]
        return [float(end) for end in found[0].split(" to ")] if found else [None, None]

    def row(label: str, goal: Value, number: str, with_interval: Sequence[str], without: Sequence[str]) -> Row:
        values = [goal]
        for m in (*with_interval, *without):
            values.append(value(file, number, measure=m))
            values += ends(number, m) if m in with_interval else []
        return Row(label, file, values, under)

    def condition(kind: str, name: str, of: str = SESS) -> Value:
        return value(file, of, kind=kind, condition=name)

    turned = [condition("rotation", angle) for angle in ("90", "180", "270")]
    named = [condition("rotation", angle, "people") for angle in ("90", "180", "270")]
    numbers = ("Spearman", "residual", "spread", "height", "distance")
    return [
        row("Spearman with people", 0.97, "Spearman", (SESS, EMBEDDING, MS_SSIM), (PSNR,)),
        row("residual of the best monotone curve", 0.05, "residual", (SESS,), (EMBEDDING, MS_SSIM, PSNR)),
        Row(
            "spread over kinds where people name 75 %",
            file,
            [
                0.15,
                value(file, "spread", measure=SESS),
                *ends("spread", SESS),
                value(file, "spread", measure=EMBEDDING),
                value(file, "spread", measure=MS_SSIM),
            ],
            under,
        ),
        row("lowest kind there, above another photograph", 0.45, "height", (SESS,), (EMBEDDING, MS_SSIM)),
        row("mean distance from people, where they name half or more", 0.15, "distance", (SESS,), (EMBEDDING, MS_SSIM)),
        *(
            Row(
                f"{number}, SeSS - embedding",
                file,
                [*lead(file, number, EMBEDDING), value(file, "p", lead=number, over=EMBEDDING)],
                under,
            )
            for number in numbers
        ),
        Sentence(
            "low contrast scores higher ({} at 10 % and {} at 15 %, where people name {} and {})",
            file,
            [condition("contrast", c, of) for of in (SESS, "people") for c in ("c10", "c15")],
        ),
        Sentence(
            "heavy blur lower ({} at 7 pixels, people {})",
            file,
            [condition("low-pass", "7"), condition("low-pass", "7", "people")],
        ),
        Sentence(
            "nor was turning (people {} to {}, SeSS {} to {})",
            file,
            [*_range(named), *_range(turned)],
        ),
    ]


def _pasted() -> list[Statement]:
    file, kept = "pasted", "below moved together"

    def both(change: str) -> list[Value]:
        return [value(file, f"{m}, rescaled", change=change) for m in (SESS, EMBEDDING)]

    def ranked(change: str) -> list[Value]:
        return [value(file, f"{kept}, {m}", change=change) for m in (SESS, EMBEDDING)]

    first, second = both("exchanged"), both("stacked")
    one, two = ranked("exchanged"), ranked("stacked")
    return [
        Row("both moved together", file, [0.95, *both("moved together")]),
        Row(
            "exchanged / stacked",
            file,
            [first[0], second[0], first[1], second[1], one[0], two[0], one[1], two[1]],
        ),
        Row("one replaced", file, [*both("one replaced"), *ranked("one replaced")]),
        Row("one removed", file, [0.70, *both("one removed"), *ranked("one removed")]),
        Row("both removed", file, [0.30, *both("both removed"), *ranked("both removed")]),
        Sentence(
            "objects: +{} (95 % interval {} to {}, 40 scenes",
            file,
            lead(file, f"exchanged {kept}", EMBEDDING),
            leads=True,
        ),
    ]


def _objects() -> list[Statement]:
    file, under = "objects-lite", "## Are objects those that people draw?"
    segments = ("objects", "nodes of the graph", "grid of 5 by 5", "whole image", "SLIC and adjacency")

    def row(label: str, title: str, *goal: Value, another: bool = False) -> Row:
        values = [*goal, *(value(file, title, segments=each) for each in segments)]
        return Row(label, file, [*values, value(file, title, segments="another person")] if another else values, under)

    calibration = "objects-calibration-lite"
    return [
        row("covering", "covering", 0.50, another=True),
        row("variation of information, bits", "variation of information", another=True),
        row("boundary F", "boundary F"),
        row("object met", "object met", 0.65),
        row("mean IoU with the object", "IoU with the object"),
        row("adjusted Rand, JPEG 20", "adjusted Rand, JPEG 20", 0.85),
        row("count", "count", another=True),
        Given("are met with an IoU of {}, and", "the definition"),
        Sentence(
            "On the half that constants were chosen on: covering {}, mean IoU with the object {}.",
            calibration,
            [value(calibration, title, least=0.3) for title in ("covering", "IoU with the object")],
        ),
        Sentence(
            "`group_objects` takes {} ms of processor time an image beside other jobs",
            file,
            [value(file, "processor milliseconds of group_objects")],
        ),
        Given(
            "(`least={}`) it is met ({}, covering {}),\nbut then the goal for JPEG 20 is not ({});",
            "measured once, with the constants put back by hand",
        ),
    ]


def _mild() -> list[Statement]:
    file, under = "semantics-drawn_summary", "## Is anything mild taken for something lost?"
    names = {
        "an object taken away": 0.984,
        "left and right exchanged": 0.975,
        "top and bottom exchanged": 0.975,
    }

    def ordering(what: str) -> str:
        return f"ordering, meaning kept above {what}"

    def margins(what: str) -> list[Value]:
        return [value(file, m, number=f"margin, meaning kept above {what}") for m in MEASURES]

    scores = "semantics-drawn"
    levels = ["flip", "greyscale", "object cut out", "object erased"]
    swapped = [value(scores, SESS, level=f"object swapped {k}") for k in (1, 2)]
    auc = [value(file, m, number="AUC, same photograph against another") for m in MEASURES]
    return [
        *(
            Row(what, file, [goal, *(value(file, m, number=ordering(what)) for m in MEASURES)], under)
            for what, goal in names.items()
        ),
        Row("another photograph (AUC)", file, auc, under),
        *(
            Row(
                f"{what}, SeSS - {m}",
                file,
                [*lead(file, ordering(what), m), value(file, "p", lead=ordering(what), over=m)],
                under,
            )
            for what in names
            for m in (EMBEDDING, MS_SSIM)
        ),
        Row("margin of an object taken away", file, margins("an object taken away"), under),
        Sentence(
            "The mildest scores are those of a mirrored photograph ({}) and one without colours ({}); an object cut "
            "out scores {}, erased {}, swapped {}.",
            scores,
            [*(value(scores, SESS, level=level) for level in levels), _average(swapped)],
        ),
    ]


def _old() -> list[Statement]:
    file, under = "semantics_summary", "## Which changes score above others? (version 0.1.0)"
    columns = (SESS, "SeSS without relations", EMBEDDING, MS_SSIM, "SSIM", PSNR)

    def row(label: str, *numbers: str) -> Row:
        return Row(label, file, [value(file, m, number=number) for m in columns for number in numbers], under)

    return [
        row("Spearman of score and JPEG quality, mean / lowest", "Spearman, JPEG, mean", "Spearman, JPEG, lowest"),
        row("Spearman of score and noise, mean", "Spearman, noise, mean"),
        row(
            "Spearman of score and diffusion, mean / lowest", "Spearman, diffusion, mean", "Spearman, diffusion, lowest"
        ),
        row("same photograph against another one, AUC", "AUC, same photograph against another"),
        *(
            row(f"ordering: mild change above {what}", f"ordering, meaning kept above {key}")
            for what, key in (
                ("an object taken away (n = 8)", "an object taken away"),
                ("two objects exchanged (n = 4)", "objects exchanged"),
                ("halves exchanged, left and right", "left and right exchanged"),
                ("halves exchanged, top and bottom", "top and bottom exchanged"),
            )
        ),
        row("margin: mild change above an object taken away", "margin, meaning kept above an object taken away"),
    ]


def _cost() -> list[Statement]:
    under = "## What does it cost?"
    processes, loss, matching = "processes", "loss-cpu", "matching"
    backward = "loss: forward and backward"
    cached = [value("target_cache-cpu", "faster", cache=where) for where in ("memory", "folder")]
    growth = [value("lite-cpu", "update / forward", pairs=pairs) for pairs in (8, 16)]
    last = {"what": "updates", "count": 1000}
    matched, network = value(processes, "matching ms"), value(processes, "scene graphs ms")
    return [
        Row(
            "kernel against plain scipy, 30 nodes and 99 edges",
            matching,
            [60, value(matching, "ratio", nodes=30), value(matching, "kernel_ms", nodes=30)],
            under,
        ),
        Row(
            "`update()` of `lite-0.1` against the bare network",
            "lite-cpu",
            [
                1.3,
                growth[0],
                8,
                16,
                growth[1],
                16,
                value("lite-cpu", "update / forward", side=2048),
                2048,
                value("lite-cpu", "update / forward", regions=64),
                64,
            ],
            under,
        ),
        Given("importing torchmetrics | at most {} |", "a goal; the script prints what it measures and keeps no file"),
        Row(
            "peak memory after 1000 updates against 1",
            "memory",
            [1, times(100, value("memory", "growth", **last)), value("memory", "peak_mib", **last)],
            under,
        ),
        Row(
            "two processes against one, `update()`",
            "ddp_scaling",
            [1.85, value("ddp_scaling", "speed_up", processes=2)],
            under,
        ),
        Row("two processes against one, `sess score`", processes, [value(processes, "speed-up", processes=2)], under),
        Row(
            "loss, forward and backward, against `update()`, 8 pairs of 336 pixels",
            loss,
            [
                3.5,
                value(loss, "/ update", what=backward, batch_size=8),
                value(loss, "peak MiB", what=backward, batch_size=8),
                value(loss, "peak MiB", what=backward, batch_size=1),
            ],
            under,
        ),
        Row("second epoch with a cache of targets, in memory / in a folder", "target_cache-cpu", [1.9, *cached], under),
        Row(
            "our SAM segmentation against the stock generator, same masks",
            "segmentation-vit_b-cpu",
            [value("segmentation-vit_b-cpu", "share_of_stock", segmenter="batched")],
            under,
        ),
        Row(
            "matching on two threads, `lite-0.1` / `reference`",
            matching,
            [value(matching, "speed_up", preset=preset, threads=2) for preset in ("lite", "reference")],
            under,
        ),
        Sentence(
            "A pair of `lite` takes {} ms of a core for reading two small files, {} for both scene graphs and {} for "
            "matching",
            processes,
            [value(processes, "reading ms"), network, matched],
        ),
        Sentence(
            "{} % of an update of `lite-0.1` is the network, {} % matching",
            "profile_lite-cpu",
            [times(100, value("profile_lite-cpu", "share", stage=stage)) for stage in ("network", "matching")],
        ),
        Sentence("the loop is nearly all overhead | {} ×", matching, [value(matching, "ratio", nodes=30)]),
    ]


def _relations() -> list[Statement]:
    name, under = "relation_changes", "## What are relations for?"
    labels = {
        "as it is": "`lite`",
        "with relations": "with relations",
        "with relations, shuffled": "the same, relations shuffled",
        "with neighbours only (alpha 0)": "with neighbours, whatever the relation",
        "without positions (theta 0)": "`lite` without positions",
        "with relations, without positions": "with relations, without positions",
        "image share .2": "`lite`, a fifth of whole image",
        "embedding": "embedding",
    }

    def row(variant: str, label: str) -> Row:
        found = rows(name, variant=variant)[0]
        kinds = ("beside", "over", "in front of", "nearer than")
        return Row(label, name, [found["all"], *found["all, interval"], *(found[kind] for kind in kinds)], under)

    settings = Given("2 iterations, beta {}, alpha {}, chosen", "settings of the benchmark")
    return [settings, *(row(variant, label) for variant, label in labels.items())]


def _small_objects() -> list[Statement]:
    name, settings = "small_objects", ("lite", "518 pixels", "518 pixels, 144 regions")

    def row(sides: int) -> Row:
        found = [times(100, value(name, "area", height=1 / sides))]
        for which in (*settings, "embedding"):
            found.append(value(name, f"{which}, median", height=1 / sides))
            found.append(times(100, value(name, f"{which}, felt", height=1 / sides)))
        return Row(f"1/{sides} of the scene", name, found)

    small, large = (value(name, f"{which}, s an image") for which in settings[:2])
    return [
        *map(row, (32, 16, 12, 8, 6, 4)),
        Given("in how many scenes by {} or more", "what counts as felt"),
        Sentence(
            "an image takes {} times as long ({} s of a core in place of {})", name, [ratio(large, small), large, small]
        ),
    ]


def _history() -> list[Statement]:
    gone = "measured once, while the network was trained; its states in between are kept nowhere, as the page says"
    return [
        Given("## What was tried for it", gone),
        Given("## What was tried for objects", gone),
        Given("### What was tried for version 0.1.0", gone),
        Given("## What was changed for speed", gone),
    ]


def _average(values: Sequence[Value]) -> Value:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _range(values: Sequence[Value]) -> list[Value]:
    known = [each for each in values if each is not None]
    return [min(known), max(known)] if known else [None, None]
