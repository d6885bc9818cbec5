"""What the pages of `docs/` state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.claims.results import Value, column, mean, ratio, rows, setting, times, value
from benchmarks.claims.statements import Given, Row, Sentence, Statement

COSTS = {
    '`"ram"`': "ram",
    '`"predcls"`': "predcls",
    '`"sgdet"`, with classes': "sgdet",
    '`"sgdet"`, class-agnostic': "sgdet, class-agnostic",
    "the same from IoU in place of masks": "sgdet, class-agnostic, from IoU",
}
"""What the page of relations calls the rows of `relation_recall-cpu`."""
LITE, REFERENCE = "configs/presets/lite.yaml", "configs/presets/reference.yaml"


def guide() -> Mapping[str, Sequence[Statement]]:
    """Return what every page states, by its path."""
    return {
        "docs/comparison.md": _comparison(),
        "docs/curves.md": _curves(),
        "docs/explanations.md": [Given("is at least {} (average linkage)", "a constant of `group_objects`")],
        "docs/fidelity.md": _fidelity(),
        "docs/index.md": [
            Sentence("Unrelated photographs do not score 0, but around {} in", "baseline-lite", [_baseline()])
        ],
        "docs/lightning.md": _lightning(),
        "docs/limits.md": _limits(),
        "docs/loss.md": _loss(),
        "docs/metric.md": _metric(),
        "docs/people.md": _people(),
        "docs/presets.md": [Given("# Presets and settings", "sizes of files and settings, and names of licences")],
        "docs/relations.md": _relations(),
        "docs/scale.md": _scale(),
    }


def _baseline() -> Value:
    return value("baseline-lite", "baseline")


def _comparison() -> list[Statement]:
    return [
        Given("Gaussian window, σ = {}, mean", "the definition"),
        Given("[arXiv {}]", "a name"),
    ]


def _curves() -> list[Statement]:
    points, deltas = "kodak/points.csv", "kodak/deltas.csv"

    def bd_rates(codec: str) -> list[Value]:
        found = []
        for metric in ("sess", "sess_db", "psnr", "ms_ssim", "ms_ssim_db"):
            which = {"codec": codec, "metric": metric, "kind": "rate"}
            if any(row["note"] for row in rows(deltas, **which)):
                # A sentence in place of a number.
                continue
            found += [value(deltas, part, **which) for part in ("value", "low", "high")]
            found.append(times(100, value(deltas, "overlap", **which)))
        return found

    def lowest(codec: str) -> list[Value]:
        return [value(points, part, codec=codec) for part in ("sess", "bpp")]

    def cost(number: str, what: str) -> Value:
        return value("curve-cpu", number, what=what, pairs=768)

    above = 0.285
    least = min(float(row["sess"]) for row in rows(points) if float(row["bpp"]) > above)
    # The one that is furthest from what was planted speaks for all.
    planted = max(column("kodak", "BD-rate, %", codec="jpeg and 10 % of bytes"), key=lambda rate: abs(rate - 10))
    return [
        *(
            Row(name, deltas, bd_rates(codec))
            for codec, name in (("webp", "WebP"), ("avif", "AVIF"), ("jpeg2000", "JPEG 2000"))
        ),
        Sentence("takes {} bits per pixel and scores {}.", points, lowest("jpeg")[::-1]),
        Sentence(
            "AVIF scores {} at {}, WebP {} at {}, JPEG 2000 {} at {}.",
            points,
            [*lowest("avif"), *lowest("webp"), *lowest("jpeg2000")],
        ),
        Sentence("Above {} bits per pixel, the lowest mean is {}:", points, [above, least]),
        Sentence("PSNR is at most {} dB", "kodak", [value("kodak", "largest error of PSNR, dB")]),
        Sentence("comes out at +{} % by every metric (`benchmarks", "kodak", [planted]),
        Sentence("`sess curve` takes {} times as long", "curve-cpu", [cost("x bare", "sess curve")]),
        Sentence("Everything but the scores takes {} s", "curve-cpu", [cost("cpu s", "everything else of sess curve")]),
        Sentence("of the photographs, {} pairs,", "curve-cpu", [value("curve-cpu", "scored", what="bare scores")]),
        Given("the curves, {} inches wide", "a setting"),
        Given("slides, {} inches wide", "a setting"),
        Given("Where all codecs lie above {}, a difference", "advice"),
    ]


def _fidelity() -> list[Statement]:
    def effect(changed: str, of: str = "mean") -> Value:
        return value("fidelity", of, changed=changed)

    def both(changed: str) -> list[Value]:
        return [effect(changed), effect(changed, "max")]

    def row(label: str, changed: str) -> Row:
        return Row(label, "fidelity", both(changed), "# What follows the released code, and what does not")

    order, first, last = "synchronous updates", "in place from the first iteration", "the last triplet kept"
    dropout, bilinear = "dropout on (10 runs)", "1040 pixels wide, a bilinear filter"
    unshrunk, swapped = "1040 pixels wide, not shrunk", "the two images swapped"
    wide_pillow = "1040 pixels wide, crops by Pillow 13.0.0"
    return [
        Sentence("| in place | in place; `matching.update_order` | {} | {} |", "fidelity", both(order)),
        Sentence("| reads the initial similarity only | the same | {} | {} |", "fidelity", both(first)),
        Sentence("| dropped | dropped; `relations.drop_last` | {} | {} |", "fidelity", both(last)),
        Sentence("| left on | off | {} | {} |", "fidelity", both(dropout)),
        Sentence("that of the installed Pillow | rows first | {} | {} |", "fidelity", both("crops by Pillow 13.0.0")),
        Sentence("The two orders differ by {} on average", "fidelity", [effect(order)]),
        Sentence("would move scores by {}. Sequential", "fidelity", [effect(first)]),
        Sentence("swapping the images moves them by {} on average, {} at most", "fidelity", both(swapped)),
        Given("they stay while it is at least {}.", "a setting of the released code"),
        Sentence("the eighth moves by {}.", "fidelity", [effect(last, "max")]),
        Sentence("by {} on average from the score without dropout, by up to {}", "fidelity", both(dropout)),
        Given("The results differ by {} grey levels on average", "measured once, against Pillow's own function"),
        Sentence("their scores move by {} on average ({} at most)", "fidelity", both(bilinear)),
        Sentence(
            "and by {} ({} for one pair, the rest below {})",
            "fidelity",
            [effect(unshrunk), effect(unshrunk, "max"), 1.5e-3],
        ),
        Sentence("Pillow 13 moves scores by {} on average and {} at most", "fidelity", both(wide_pillow)),
    ]


def _lightning() -> list[Statement]:
    return [
        Given("takes between 1 and {} times as long", "rounded up from the row of `update()` in the benchmarks"),
        Sentence(
            "epochs from the second on are {} times as fast",
            "target_cache-cpu",
            [value("target_cache-cpu", "faster", cache="memory")],
        ),
        Sentence(
            "2 processes score {} times as fast as one", "ddp_scaling", [value("ddp_scaling", "speed_up", processes=2)]
        ),
        Given("got values from {} to {}", "an example of a message"),
        Given("in `lite`, {} GB in `reference`", "the sizes of the files"),
    ]


def _limits() -> list[Statement]:
    return [
        Row(each["pair"], "limits", [each["SeSS"], each["SeSS, rescaled"], each["embedding"]])
        for each in rows("limits")
        if "pair" in each
    ]


def _loss() -> list[Statement]:
    cost, climb, jscc = (
        "loss-cpu",
        "loss-ascent",
        "examples/deep_jscc/losses.csv (`python -m examples.deep_jscc.losses`)",
    )
    backward = {"what": "loss: forward and backward"}

    def climbed(start: str) -> list[Value]:
        return [
            value(climb, f"{m} {when}", **{"from": start})
            for m in ("SeSS", "lite-0.1", "PSNR")
            for when in ("before", "after")
        ]

    def gradient(of: str) -> list[Value]:
        return [value(climb, at, **{"gradient of": of}) for at in ("JPEG 5", "noise", "another photograph")]

    def trained(how: str, snr: float) -> list[Value]:
        return [_losses(how, snr, m) for m in ("sess", "sess_0_1", "psnr", "ms_ssim")]

    plain, both = trained("further with MSE", -5.0), trained("further with MSE + SeSS", -5.0)
    gained = [None if a is None or b is None else b - a for a, b in zip(plain, both, strict=True)]
    one = value(cost, "peak MiB", batch_size=1, **backward)
    start = value(climb, "SeSS before", **{"from": "JPEG 5"})
    return [
        Sentence(
            "take {} times the metric's `update` with the same pairs ({} against {} processor seconds",
            cost,
            [
                value(cost, "/ update", batch_size=8, **backward),
                value(cost, "seconds", batch_size=8, **backward),
                value(cost, "seconds", what="update"),
            ],
        ),
        Sentence(
            "They raise the peak of memory by {} MiB at once, and by {} MiB with",
            cost,
            [value(cost, "peak MiB", batch_size=8, **backward), one],
        ),
        Sentence(
            "| its JPEG of quality 5 | 50, along the gradient | {} to {}, up at every step | {} to {} | {} to {} |",
            climb,
            climbed("JPEG 5"),
        ),
        Sentence("| noise | 20 of Adam | {} to {} | {} to {} | {} to {} |", climb, climbed("noise")),
        Sentence(
            "| another photograph | 20 of Adam | {} to {} | {} to {} | {} to {} |", climb, climbed("another photograph")
        ),
        Sentence("some of the way, to {} in the last line", climb, [climbed("another photograph")[3]]),
        Sentence(
            "one half at {} and of width {}. Its slope",
            LITE,
            [setting("lite", "matching.probability_center"), setting("lite", "matching.probability_width")],
        ),
        Given("Its slope is {} there, {} at a cosine of {} and {} at 0.", "follows from center and width"),
        Given("at `m` = {}, it is a third", "follows from the square"),
        Sentence(
            "| | at its JPEG 5, SeSS {} | at noise, SeSS {} | at another photograph, SeSS {} |",
            climb,
            [
                start,
                value(climb, "SeSS before", **{"from": "noise"}),
                value(climb, "SeSS before", **{"from": "another photograph"}),
            ],
        ),
        Row("`1 - SeSS`", climb, gradient("1 - SeSS")),
        Row("`-log SeSS`", climb, gradient("-log SeSS")),
        Row("`1 - SeSS`, exponent 1, width .2", climb, gradient("1 - SeSS, exponent 1, width .2")),
        Given("| `1 - SeSS`, exponent 1, width {} |", "a setting"),
        Given("{} s in place of {} s with three iterations, and {} ms in place of {} ms with none", "measured once"),
        *(
            Row(f"{name} | {snr}", jscc, trained(f"further with {name}", snr))
            for snr in (-5, 0)
            for name in ("MSE", "MSE + SeSS")
        ),
        Sentence(
            "At -5 dB SeSS gains {} for {} dB of PSNR and {} of MS-SSIM, and `lite-0.1` {}, which",
            jscc,
            [gained[0], times(-1, gained[2]), times(-1, gained[3]), gained[1]],
        ),
        Given("We had hoped for {}.", "a goal"),
        Given("looked worse ({}), it gained {}:", "measured once, with an earlier network"),
        Given("At 0 dB {} are missing to 1.", "follows from the table"),
    ]


def _losses(how: str, snr: float, column: str) -> Value:
    import csv

    from benchmarks.claims.results import ROOT

    for row in csv.DictReader((ROOT / "examples/deep_jscc/losses.csv").read_text().splitlines()):
        if row["trained"] == how and float(row["snr_db"]) == snr:
            return float(row[column])
    return None


def _metric() -> list[Statement]:
    return [
        Given("## Which difference counts", "advice"),
        Given("## In a paper", "versions"),
        Given("[arXiv {}]", "a name"),
        Given("## 1. Objects", "settings of presets"),
        Given("## 2. Relations", "settings of presets"),
        Given("## 3. Importance", "settings of presets"),
        Sentence(
            "one half at {} and of width {}, scaled to 0 at 0",
            LITE,
            [setting("lite", "matching.probability_center"), setting("lite", "matching.probability_width")],
        ),
        Given("| `reference` | {} | {} | {} | 7, in place | {} | 1 | one to one |", "defaults of `MatchingConfig`"),
        Row(
            "`lite` | – | –",
            LITE,
            [
                setting("lite", "matching.theta"),
                setting("lite", "matching.image_weight"),
                setting("lite", "matching.exponent"),
                setting("lite", "matching.slack"),
            ],
        ),
        Given("at scores of {}, {}, {} and {}]", "the goals of the picture"),
        Given("these four photographs score {} where", "read off the picture"),
        Given("name the object of a photograph, {} where 61 to 65 % do, {}", "read off the picture"),
        Given(
            "where 38 to 48 % do, and {} to {} where 30 % do. Low contrast scores somewhat too high: {} where 45 % do",
            "read off the picture",
        ),
        Sentence(
            "the score is off by {} on average", "recognition", [value("recognition", "distance", measure="SeSS")]
        ),
    ]


def _people() -> list[Statement]:
    def row(pairs: int, originals: int) -> Row:
        found = [
            value("power", what, pairs=pairs, raters=raters)
            for raters in (1, 5, 20)
            for what in ("width", "width of a difference")
        ]
        return Row(f"{pairs} ({originals})", "power", found)

    planted = rows("planted")[0]
    before, fitted, settings = planted["before"], planted["fitted"], planted["planted"]
    better = [mean("power", "srcc", raters=raters) for raters in (1, 5, 20)]
    return [
        Sentence("took 135 s on two cores, {} s each", "tuning-cpu", [value("tuning-cpu", "seconds per trial")]),
        Sentence(
            "was {} with the settings of `lite`, {} with those that `tune` fitted, and {} with the planted",
            "planted",
            [before, fitted, settings],
        ),
        Sentence(
            "a gain of +{} [+{}, +{}]",
            "planted",
            [fitted - before, *planted["interval of the gain"]],
        ),
        Sentence("the interval of its gain was [{}, {}]", "planted", planted["interval of the gain on noise"]),
        Given("raters who err by {} steps, two metrics of which one errs {} times", "what was simulated"),
        *(row(pairs, pairs // 6) for pairs in (30, 60, 150, 300, 600)),
        Row("mean SRCC of the better metric", "power", better),
        Given("by {}: a width of the difference of {} or less", "advice, read off the table"),
        Given("some 50 originals; by {}: 10 originals", "advice, read off the table"),
    ]


def _relations() -> list[Statement]:
    cost, under = "relation_recall-cpu", "## What was run here"

    def table(layout: str, under: str) -> list[Statement]:
        file = f"relations-made_up-{layout}"

        def recall(segmenter: str, by: str) -> list[Value]:
            found = rows(file, segmenter=segmenter)
            return [100 * found[0]["recall"][by][number] if found else None for number in ("recall@20", "R@20")]

        def head(label: str, segmenter: str) -> Row:
            seconds = value(file, "training_seconds", segmenter=segmenter)
            return Row(label, file, [*recall(segmenter, "head"), seconds], under)

        return [
            head("head, tokens of `lite`", "lite"),
            head("head, tokens of the small Segment Anything of the tests", "tiny SAM"),
            *(
                Row(label, file, recall("lite", by), under)
                for label, by in (
                    ("frequency prior", "frequency prior"),
                    ("geometric predicates", "geometric"),
                    ("random", "random"),
                )
            ),
        ]

    return [
        *table("cells", "### Where colours tell places"),
        *table("free", "### Where only places do"),
        *(Row(label, cost, [value(cost, "ms", what=what)], under) for label, what in COSTS.items()),
        Given("of highest IoU with it, if that is at least {};", "a setting"),
        Given("## Train", "settings"),
    ]


def _scale() -> list[Statement]:
    file = "processes"
    seconds = times(0.001, value(file, "scene graphs ms"))
    return [
        Row("reading two files of 224 × 224 pixels", file, [value(file, "reading ms")]),
        Row("both scene graphs: the network", file, [value(file, "scene graphs ms")]),
        Row("matching them", file, [value(file, "matching ms")]),
        Sentence("So a core does about {} images a second, and", file, [ratio(2, seconds)]),
        Sentence("the network is {} % of the time", file, [_share()]),
        Sentence(
            "Two processes on two cores scored {} pairs a second, one {}: {} times as many",
            file,
            [*(value(file, "pairs per s", processes=n) for n in (2, 1)), value(file, "speed-up", processes=2)],
        ),
        Given("came to {}: processes wait", "a run whose results were not kept"),
    ]


def _share() -> Value:
    parts: list[Any] = [value("processes", f"{part} ms") for part in ("scene graphs", "reading", "matching")]
    return None if None in parts else 100 * parts[0] / sum(parts)
