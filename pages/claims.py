"""The report's claims, and what becomes of them: those of pictures by ``tools/measure.py``, and that of accuracy."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from configs import SettingsError
from pages.run_data import RunData
from pages.statistics import PairedComparison, compare_counts, undecided_from

IMAGES, ALEXNET, ZFNET = 1735, 0.7406, 0.7469  # of the report, section 6.2: test images and accuracies
FIGURES = {"blocks": "10 to 12", "detail": "12", "DeNet": "13"}
DENET, CURVES = "denet", "curves"
WORDS = {
    "grid2": "block artefacts at 2 pixels, logarithm", "grid4": "block artefacts at 4 pixels, logarithm",
    "detail": "edges kept, correlation with the image's", "inside": "share of energy on the object",
    "pointing": "strongest pixel on the object", "insertion": "answer as its pixels come in",
    "deletion": "answer as its pixels go",
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One comparison that the report's claim rests on.

    Attributes:
        claim: in the report's words, about.
        what: is compared.
        difference: with its interval, as text.
        verdict: holds, does not hold, not decided.
        figures: of the report, where it sees what it claims.
        shown_by: what the page shows it by: a layer's name, DeNet or the curves.
    """

    claim: str
    what: str
    difference: str
    verdict: str
    figures: str
    shown_by: str


def read_claims(file: Path, runs: Sequence[RunData]) -> list[Claim]:
    """Read the claims from ``measures.json``, the one about accuracy computed before them.

    Raises:
        SettingsError: the file is none of ``tools/measure.py``.
    """
    try:
        found = json.loads(file.read_text())["claims"]
        return [claim_of_accuracy(runs), *map(_claim, found)]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise SettingsError(f"{file}: no measures of tools/measure.py with claims ({problem})") from None


def _claim(entry: dict[str, object]) -> Claim:
    claim, difference = str(entry["claim"]), entry["difference"]
    assert isinstance(difference, dict)
    figures = next((numbers for word, numbers in FIGURES.items() if word in claim), "")
    interval = f"{difference['mean']:.3f} ({difference['low']:.3f} to {difference['high']:.3f})"
    what = str(entry["what"])
    if found := re.fullmatch(r"(\w+)/([^,]+)(, logarithm)?", what):
        layer, what = found[2], f"{found[2]}: {WORDS.get(found[1], found[1])}"
    elif found := re.fullmatch(r"(\w+): (\w+), (more|less)", what):
        layer, what = DENET, f"{found[1]}: {WORDS.get(found[2], found[2])}, {found[3]}"
    else:
        layer = DENET
    return Claim(claim, what, interval, str(entry["verdict"]), figures, layer)


def claim_of_accuracy(runs: Sequence[RunData]) -> Claim:
    """Return the report's claim that ZFNet is better, from its own accuracies.

    The report doesn't say on how many images its networks disagreed. The share of these runs takes its place, or that of
    networks whose mistakes are independent of each other.
    """
    found = report_difference(runs)
    limit = undecided_from(found.only_second - found.only_first)
    points = found.difference
    interval = f"{100 * points.value:+.2f} points ({100 * points.low:+.2f} to {100 * points.high:+.2f})"
    verdict = {"better": "holds", "worse": "does not hold"}.get(found.verdict, found.verdict)
    what = (
        f"{ZFNET:.2%} against {ALEXNET:.2%} of {IMAGES:,} images: {found.only_second - found.only_first} images, mid-p "
        f"{found.p_value:.2g} if they disagreed on {found.only_first + found.only_second}; decided only below {limit}"
    )
    return Claim("ZFNet is more accurate than AlexNet", what, interval, verdict, "7 and 8", CURVES)


def link_to_picture(
    shown_by: str, layers: Sequence[str], probes: Sequence[Mapping[str, str]], pictures: Sequence[Mapping[str, Any]]
) -> str:
    """Return the state of the page that shows something of all runs, as its link has it; empty where none does.

    It is the last epoch that all have, and a test image rather than one that they learnt.

    Args:
        shown_by: a layer, DeNet or the curves, as a claim has it.
        layers: those of the page.
        probes: those of the page.
        pictures: of each run, as ``collect_pictures`` returns them.
    """
    if shown_by == CURVES:
        return f"s={CURVES}"
    kind = "denet" if shown_by == DENET else "deconvolution"
    for number, probe in sorted(enumerate(probes), key=lambda each: each[1]["part"] != "test"):
        place = probe["place"] if kind == "denet" else f"{probe['place']}/{shown_by}"
        if epochs := set.intersection(*(set(of_run[kind].get(place, ())) for of_run in pictures)):
            layer = f"l={quote(shown_by, safe='')}&s=layer-{layers.index(shown_by)}" if kind != "denet" else f"s={DENET}"
            return f"e={max(epochs)}&p={number}&{layer}"
    return ""


def report_difference(runs: Sequence[RunData] = ()) -> PairedComparison:
    """Return the report's ZFNet against its AlexNet, disagreeing on as many images as two of these runs do."""
    share = ALEXNET * (1 - ZFNET) + ZFNET * (1 - ALEXNET)
    if len(runs) > 1 and runs[0].predictions and len(runs[0].predictions) == len(runs[1].predictions):
        pairs = zip(runs[0].predictions, runs[1].predictions, strict=True)
        share = sum(a.right != b.right for a, b in pairs) / len(runs[0].predictions)
    gain = round(ZFNET * IMAGES) - round(ALEXNET * IMAGES)
    disagreed = max(gain, round(share * IMAGES))
    disagreed += (disagreed - gain) % 2
    return compare_counts((disagreed - gain) // 2, (disagreed + gain) // 2, IMAGES)
