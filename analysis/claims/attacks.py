"""Claims about adversarial examples."""

from functools import partial

import numpy as np
import pandas as pd

from analysis.attacks.rows import initially_correct
from analysis.attacks.success_rates import success_rate, successes
from analysis.claims import settings, thresholds
from analysis.claims.claim import Claim, Claimed, Measurement, about, above_zero
from analysis.claims.evidence import Evidence
from analysis.claims.means import SHARE, mean, paired_difference
from analysis.claims.rates import complement, rate, rate_difference
from analysis.claims.thresholds import EPSILON, UNNOTICED
from analysis.naming import format_epsilon

_SECTION, _GENERATION = "Adversarial Examples", "Modifying an input via gradient descent"


def attacked(
    evidence: Evidence, method: str, epsilon: float | None = EPSILON, checkpoint: str = "trained"
) -> pd.DataFrame:
    """Return the rows of a method at one ε, at every ε for None."""
    rows = evidence.rows
    rows = rows[(rows["method"] == method) & (rows["checkpoint"] == checkpoint)]
    return rows if epsilon is None else rows[np.isclose(rows["epsilon"], epsilon, rtol=0, atol=1e-9)]


def changed(rows: pd.DataFrame, subject: str = "") -> list[Measurement]:
    """Measure the share of the images whose prediction is no longer that of the clean image."""
    table = success_rate(rows, by=("method",), against="clean_prediction")
    return [
        Measurement(value=row.rate, low=row.low, high=row.high, count=row.count_, subject=subject)
        for row in table.rename(columns={"count": "count_"}).itertuples()
    ]


def share_changed(
    evidence: Evidence, method: str, epsilon: float = EPSILON, checkpoint: str = "trained"
) -> list[Measurement]:
    return changed(attacked(evidence, method, epsilon, checkpoint))


def share_unchanged(evidence: Evidence, checkpoint: str) -> list[Measurement]:
    """Measure the share of the images that FGSM leaves at their clean prediction."""
    return [complement(each) for each in share_changed(evidence, "fgsm", EPSILON, checkpoint)]


def share_changed_up_to(evidence: Evidence, epsilon: float, methods: tuple[str, ...]) -> list[Measurement]:
    """Measure the share of the images that any ε of the grid up to this one changes, method by method."""
    found = []
    for method in methods:
        rows = attacked(evidence, method, None)
        if attacked(evidence, method, epsilon).empty:
            continue
        rows = rows[rows["epsilon"] <= epsilon + 1e-9]
        hit = successes(rows, against="clean_prediction").groupby(rows["image_index"]).any()
        subject = f"{method}, any ε up to {format_epsilon(epsilon)}"
        found.append(rate(int(hit.sum()), len(hit), subject))
    return found


def confidence_of_hits(evidence: Evidence) -> list[Measurement]:
    """Measure the mean confidence in the wrong class, of images that FGSM turned from right to wrong."""
    rows = attacked(evidence, "fgsm")
    hits = rows[initially_correct(rows) & (rows["adversarial_prediction"] != rows["label"])]
    return [mean(hits["adversarial_confidence"], within=SHARE)] if len(hits) > 1 else []


def change_of_confidence(evidence: Evidence, checkpoint: str) -> list[Measurement]:
    """Measure how far FGSM moves the confidence of the prediction, up or down, on average."""
    rows = attacked(evidence, "fgsm", EPSILON, checkpoint)
    moved = (rows["adversarial_confidence"] - rows["clean_confidence"]).abs()
    return [mean(moved, within=SHARE)] if len(rows) else []


def share_confident_alone(evidence: Evidence) -> list[Measurement]:
    """Measure the share of the images of ε · sign(g) alone that are classified confidently."""
    rows = attacked(evidence, "gradient_alone")
    return (
        [rate(int((rows["adversarial_confidence"] >= thresholds.CONFIDENT).sum()), len(rows))]
        if len(rows)
        else []
    )


def max_norm_minus_fgsm(evidence: Evidence) -> list[Measurement]:
    """Measure how much more often the max-normed gradient changes a prediction than FGSM at the same ε."""
    found = []
    for epsilon in (EPSILON, UNNOTICED):
        one, other = share_changed(evidence, "max_norm", epsilon), share_changed(evidence, "fgsm", epsilon)
        subject = f"at ε = {format_epsilon(epsilon)}"
        found += [rate_difference(a, b, subject) for a, b in zip(one, other, strict=False)]
    return found


def l2_saved(evidence: Evidence) -> list[Measurement]:
    """Measure how much smaller, in l2, the minimum change is along the gradient than along its sign."""
    rows = evidence.rows
    # Of images that were wrong from the beginning the least change is none.
    found = rows[(rows["checkpoint"] == "trained") & rows["epsilon"].notna() & initially_correct(rows)]
    pair = ("minimum_fgsm", "minimum_max_norm")
    return paired_difference(found, of="l2", between="method", pair=pair, by=["image_index"])


def _claim(**fields: object) -> Claim:
    defaults = {
        "section": _SECTION,
        "kind": "attack",
        "setting": settings.FLOWERS,
        "command": settings.ATTACK,
    }
    return Claim(**(defaults | fields))  # type: ignore[arg-type]


_FGSM = "fgsm at ε = 0.01 on the checkpoint `trained`"
_UNTRAINED = "fgsm at ε = 0.01 on the checkpoint `untrained`"

CLAIMS = (
    _claim(
        id="fgsm-third-unchanged",
        statement="After 40 epochs about a third of the inputs keep their prediction under FGSM at ε = 0.01.",
        says="about 1/3",
        original=1 / 3,
        needs=_FGSM,
        measure=partial(share_unchanged, checkpoint="trained"),
        claimed=about(1 / 3, 0.1, "a third, give or take 10 points"),
    ),
    _claim(
        id="fgsm-larger-epsilon",
        statement="With a larger ε FGSM finds an adversarial example for nearly every input.",
        says="nearly every",
        needs="fgsm up to ε = 64/255 on the checkpoint `trained`",
        measure=partial(share_changed_up_to, epsilon=64 / 255, methods=("fgsm",)),
        claimed=thresholds.NEARLY_ALL,
        differs="64/255 is our choice: the original names no ε",
    ),
    _claim(
        id="fgsm-larger-epsilon-unnoticed",
        statement="FGSM finds one for nearly every input while the change is still not to be noticed.",
        says="nearly every",
        needs="fgsm up to ε = 8/255 on the checkpoint `trained`",
        measure=partial(share_changed_up_to, epsilon=UNNOTICED, methods=("fgsm",)),
        claimed=thresholds.NEARLY_ALL,
        differs="8/255 is our choice: the original names no ε",
    ),
    _claim(
        id="fgsm-confidently-wrong",
        statement="The wrong class that FGSM at ε = 0.01 leads to is predicted confidently.",
        says="confident",
        needs=f"{_FGSM} that turns two images or more from right to wrong",
        measure=confidence_of_hits,
        claimed=thresholds.CONFIDENTLY,
    ),
    _claim(
        id="fgsm-untrained-prediction",
        statement="An untrained network keeps its prediction under FGSM at ε = 0.01.",
        says="quite similar",
        needs=_UNTRAINED,
        measure=partial(share_unchanged, checkpoint="untrained"),
        claimed=thresholds.NEARLY_ALL,
    ),
    _claim(
        id="fgsm-untrained-confidence",
        statement="An untrained network's confidence hardly moves under FGSM at ε = 0.01.",
        says="quite similar",
        needs=_UNTRAINED,
        measure=partial(change_of_confidence, checkpoint="untrained"),
        claimed=thresholds.RARE,
    ),
    _claim(
        id="gradient-alone",
        statement="The sign image of the gradient alone may be classified confidently.",
        says="may be",
        needs="gradient_alone at ε = 0.01 on the checkpoint `trained`",
        measure=share_confident_alone,
        claimed=thresholds.SOME,
        differs=f"confident: a softmax probability of {thresholds.CONFIDENT} or more",
    ),
    _claim(
        id="fgsm-fashion-exists",
        statement="FGSM finds adversarial examples on Fashion-MNIST too.",
        says="can be found",
        setting=settings.FASHION,
        needs=_FGSM,
        measure=partial(share_changed, method="fgsm"),
        claimed=thresholds.SOME,
        bound=True,
    ),
    _claim(
        id="max-norm-majority",
        statement="The max-normed gradient finds adversarial examples for most inputs at an ε too small to see.",
        says="the majority",
        needs="max_norm or max_norm_signed up to ε = 8/255 on the checkpoint `trained`",
        measure=partial(share_changed_up_to, epsilon=UNNOTICED, methods=("max_norm", "max_norm_signed")),
        claimed=thresholds.MAJORITY,
        differs="8/255 is our choice; max_norm_signed is the original's own formula, max_norm divides by max|g|",
    ),
    _claim(
        id="max-norm-as-good-same-epsilon",
        statement="The max-normed gradient does as well as FGSM, or better. Read as: at the same ε.",
        says="as well or better",
        needs="fgsm and max_norm at ε = 0.01 or 8/255 on the checkpoint `trained`",
        measure=max_norm_minus_fgsm,
        claimed=Claimed(-0.02, 1.0, "a difference in success rate; as well: within 2 points"),
        differs="the original does not say at what the two were held equal",
    ),
    _claim(
        id="max-norm-as-good-same-l2",
        statement="The max-normed gradient does as well as FGSM, or better. Read as: its "
        "smallest successful change is smaller in l2.",
        says="as well or better",
        needs="minimum_fgsm and minimum_max_norm on the checkpoint `trained`",
        measure=l2_saved,
        claimed=above_zero("l2 of FGSM's least change minus that of the max-normed gradient"),
        form="number",
        differs="the original does not say at what the two were held equal",
    ),
    _claim(
        id="random-rarely-changes",
        section=_GENERATION,
        statement="A small step in a random direction very rarely changes the prediction.",
        says="very rarely",
        needs="random_sign at ε = 0.01 on the checkpoint `trained`",
        measure=partial(share_changed, method="random_sign"),
        claimed=thresholds.RARE,
        differs="a random sign for each pixel; the original does not say how its direction was drawn",
    ),
)
