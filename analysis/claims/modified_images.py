"""Claims about real images that are changed towards a class."""

from functools import partial

from analysis.claims import settings, thresholds
from analysis.claims.claim import Claim, Measurement, above_zero
from analysis.claims.evidence import Evidence
from analysis.claims.rates import rate
from analysis.modification.own_label import own_and_other

_SECTION = "Modifying an input via gradient descent"


def less_for_own_label(evidence: Evidence, measure: str) -> list[Measurement]:
    """Measure the norm of the change towards other classes minus that towards the image's own label."""
    table = own_and_other(evidence.rows)
    row = table[(table["measure"] == measure) & (table["towards"] == "difference")].iloc[0]
    if not row["count"]:
        return []
    return [Measurement(value=row["mean"], low=row["low"], high=row["high"], count=int(row["count"]))]


def share_that_arrived(evidence: Evidence) -> list[Measurement]:
    """Measure the share of targets, other than its own class, that an image is taken for in the end."""
    rows = evidence.rows[evidence.rows["target"] != evidence.rows["label"]]
    # An image counts once: what becomes of it under one target says much of what does under another.
    shares = (rows["prediction"] == rows["target"]).groupby(rows["image_index"]).mean()
    return [rate(float(shares.sum()), len(shares))] if len(shares) else []


def _claim(**fields: object) -> Claim:
    defaults = {
        "section": _SECTION,
        "kind": "modify",
        "setting": settings.FLOWERS,
        "command": settings.MODIFY,
        "needs": "images with their own label and others as targets",
    }
    return Claim(**(defaults | fields))  # type: ignore[arg-type]


CLAIMS = (
    _claim(
        id="modification-arrives",
        statement="Steps along the sign of the gradient turn a real image into one of the target class.",
        says="more successful",
        needs="images with other classes than their own as targets",
        measure=share_that_arrived,
        claimed=thresholds.NEARLY_ALL,
        differs="the classifier itself decides; the original judges by eye whether features of the class appear",
    ),
    _claim(
        id="own-label-changes-less",
        statement="An image is changed less when the target is its own label. Read as: after all steps.",
        says="less",
        measure=partial(less_for_own_label, measure="l2"),
        claimed=above_zero("l2 towards other classes minus l2 towards the own label"),
        form="number",
    ),
    _claim(
        id="own-label-changes-less-first-hit",
        statement="An image is changed less when the target is its own label. Read as: until it "
        "is first predicted.",
        says="less",
        measure=partial(less_for_own_label, measure="hit_l2"),
        claimed=above_zero("l2 towards other classes minus l2 towards the own label"),
        form="number",
        differs="easily true: an image that is right from the beginning need not change at all",
    ),
)
