"""What the README states."""

from __future__ import annotations

import re

from benchmarks.claims.results import column, lead, mean, rows, times, value
from benchmarks.claims.statements import Given, Output, Row, Sentence, Statement

MEASURES = ("SeSS", "embedding", "MS-SSIM", "PSNR")
SANITY, DRAWN, RECOGNITION = "lite_sanity", "robustness-drawn", "recognition"
COMMANDS = ("sess demo --report report/", "sess score photo.png photo.jpg", "sess score kodak/ decoded/")
HARD, APART = "hard ordering, above object erased", "AUC, distorted against other"


def readme() -> list[Statement]:
    hard = {m: times(100, value(DRAWN, m, number=HARD)) for m in MEASURES}
    apart = {m: value(DRAWN, m, number=APART) for m in MEASURES}
    spearman = {m: value(RECOGNITION, "Spearman", measure=m) for m in MEASURES}
    swapped = [mean(SANITY, f"swapped {k}") for k in (1, 2)]
    brightness = [mean(SANITY, title) for title in ("darker", "brighter")]
    return [
        *(_output(command) for command in COMMANDS),
        Sentence("takes {} seconds of a core", "outputs", [value("outputs", "processor seconds", shown=COMMANDS[0])]),
        Given("Python {} or newer", "a requirement"),
        Given("[Apache License {}]", "a name"),
        Sentence(
            "{} ms for both scene graphs and {} ms for matching; a process takes {} MiB",
            "processes",
            [
                value("processes", "scene graphs ms"),
                value("processes", "matching ms"),
                value("processes", "memory of a process MiB"),
            ],
        ),
        Sentence("main object erased in {} % of the cases;", DRAWN, [hard["SeSS"]]),
        Sentence(
            "the plain embedding of the same network in {} %, PSNR in {} %, MS-SSIM in {} %",
            DRAWN,
            [hard["embedding"], hard["PSNR"], hard["MS-SSIM"]],
        ),
        Sentence(
            "Over the embedding that is +{} (95 % interval {} to {}, paired bootstrap over the 30 photographs)",
            DRAWN,
            lead(DRAWN, HARD, "embedding"),
            leads=True,
        ),
        Sentence(
            "1/f noise and JPEG 2000 at 1:200, {} % and {} %",
            DRAWN,
            [
                times(100, value(DRAWN, "above, SeSS", change=change))
                for change in ("coloured noise 50", "JPEG 2000, 1:200")
            ],
        ),
        Sentence(
            "area under the ROC curve of {} against {}, and by the embedding ({})",
            DRAWN,
            [apart["MS-SSIM"], apart["SeSS"], apart["embedding"]],
        ),
        Sentence("(Spearman {} against {})", RECOGNITION, [spearman["embedding"], spearman["SeSS"]]),
        Row("itself", SANITY, [mean(SANITY, "itself")]),
        Row(
            "its JPEG of quality 95 / 50 / 20 / 10 / 5",
            SANITY,
            [mean(SANITY, f"jpeg {quality}") for quality in (95, 50, 20, 10, 5)],
        ),
        Row("itself darker / brighter by 30 %", SANITY, brightness),
        Row("itself shifted by 5 %", SANITY, [mean(SANITY, "shift 5 %")]),
        Row("itself with its main object erased", SANITY, [mean(SANITY, "erased")]),
        Row(
            "itself with its main object replaced by another",
            SANITY,
            [None if swapped[0] is None or swapped[1] is None else (swapped[0] + swapped[1]) / 2],
        ),
        Row("another photograph, the most similar of three", SANITY, [mean(SANITY, "unrelated, highest")]),
        Given("RelateAnything, OpenCLIP ViT-H/14 | {} GB | the construction", "the sizes of the files"),
        Given("the same in bfloat16 | {} GB |", "the sizes of the files"),
        Given("OpenCLIP ViT-B/32 | {} GB |", "the sizes of the files"),
        Sentence(
            "Spearman {} (the plain embedding of the same network {}, MS-SSIM {})",
            RECOGNITION,
            [spearman[m] for m in ("SeSS", "embedding", "MS-SSIM")],
        ),
        Sentence("one in a hundred is above {}.", "baseline-lite", [value("baseline-lite", "99th percentile")]),
        Sentence(
            "black against white scores {}, and noise against other noise {}",
            "limits",
            [value("limits", "SeSS", pair=pair) for pair in ("black, white", "noise, other noise")],
        ),
        Given("Above {}, differences are in the fourth decimal", "where the table of JPEG qualities ends"),
        Sentence("(lowest Spearman {}, of 11)", SANITY, [_lowest()]),
        Sentence(
            "Unrelated photographs do not score 0, but {} on", "baseline-lite", [value("baseline-lite", "baseline")]
        ),
    ]


def _output(command: str) -> Output:
    found = rows("outputs", shown=command)
    # The signature takes two lines; which settings it names is in the results file.
    shown = re.sub(r"^(SeSS\|preset:[^|]*\|).*$", r"\1…", found[0]["output"], flags=re.MULTILINE) if found else None
    return Output(command, "outputs", shown)


def _lowest() -> float | None:
    return min(column(SANITY, "Spearman"), default=None)
