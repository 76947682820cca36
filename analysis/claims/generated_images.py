"""Claims about images made for a class under prior assumptions."""

from functools import partial

import numpy as np

from analysis.claims import settings, thresholds
from analysis.claims.claim import Claim, Claimed, Form, Measurement, above_zero
from analysis.claims.evidence import Evidence
from analysis.claims.means import paired_difference
from analysis.claims.recognition import (
    IMAGE,
    difference,
    gain_in_recognition,
    of_many_classes,
    share_recognised,
)
from analysis.intervals import wilson_interval

LION, ANT = 291, 310
_SECTION = "Generating Images using Prior Assumptions"


def instability(evidence: Evidence) -> list[Measurement]:
    """Measure how much more often the predicted class changes from step to step than under `plain`."""
    rows = of_many_classes(evidence)
    turns = [np.mean(np.diff(each) != 0) if len(each) > 1 else np.nan for each in rows["argmax_by_step"]]
    rows = rows.assign(turns=turns)
    found = []
    for recipe in ("blur", "blur_resize_jitter"):
        pair = (recipe, "plain")
        found += paired_difference(rows, of="turns", between="recipe", pair=pair, by=IMAGE, subject=recipe)
    return found


def _claim(form: Form = "share", differs: str = "", **fields: object) -> Claim:
    defaults = {"section": _SECTION, "kind": "generate", "setting": settings.IMAGENET}
    defaults["command"] = settings.GENERATE
    return Claim(form=form, differs=differs, **(defaults | fields))  # type: ignore[arg-type]


_BY_EYE = "a judge network decides, not an eye"
_GAIN = "share that a judge recognises, minus the share under the other recipe"
_LIONS = Claimed(
    *(float(bound) for bound in wilson_interval(8, 16)), "the interval that 8 of 16 themselves leave"
)

CLAIMS = (
    _claim(
        id="logit-objective-raises-logit",
        form="number",
        statement="The loss behind a softmax can be lowered by pushing other classes down; aiming at the logit "
        "itself raises the target's logit further.",
        says="avoids this",
        needs="plain and softmax_loss of the same four classes or more",
        measure=partial(difference, of="logit", recipe="plain", over="softmax_loss"),
        claimed=above_zero("the target's logit under plain minus that under softmax_loss"),
    ),
    _claim(
        id="plain-mostly-unrecognisable",
        statement="With the logit and an L1 norm alone, most classes are not recognisable.",
        says="most are not",
        needs="four classes or more of plain, with judges",
        measure=partial(share_recognised, recipes=("plain",)),
        claimed=thresholds.AT_MOST_HALF,
        differs=_BY_EYE,
    ),
    _claim(
        id="plain-minority-vaguely",
        statement="With the logit and an L1 norm alone, a minority of classes is vaguely recognisable.",
        says="a minority",
        needs="four classes or more of plain, with judges",
        measure=partial(share_recognised, recipes=("plain",), rank="top5"),
        claimed=thresholds.MINORITY,
        differs="vaguely: among the first five guesses of a judge network",
    ),
    _claim(
        id="blur-more-recognisable",
        statement="Blurring makes more images recognisable.",
        says="more",
        needs="plain and blur of the same four classes or more, with judges",
        measure=partial(gain_in_recognition, recipe="blur", over="plain"),
        claimed=above_zero(_GAIN),
        differs=_BY_EYE,
    ),
    _claim(
        id="priors-unstable-prediction",
        statement="With blurring, or resizing and jitter too, the predicted class is less stable along the steps.",
        says="more unstable",
        needs="plain and blur or blur_resize_jitter of the same four classes or more",
        measure=instability,
        claimed=above_zero("share of steps at which the predicted class changes, minus that of plain"),
    ),
    _claim(
        id="resizing-prevents-spikes",
        statement="Resizing during the descent prevents spikes of intensity that blurring leaves.",
        says="prevents",
        needs="blur and blur_resize or blur_resize_jitter of the same four classes or more",
        measure=lambda evidence: [
            each
            for recipe in ("blur_resize", "blur_resize_jitter")
            for each in difference(evidence, "clipped_share", "blur", recipe, recipe)
        ],
        claimed=above_zero("share of values outside [0, 1]: blur minus the resizing recipe"),
        form="number",
        differs="jitter clamps to [0, 1] by itself, in the original too: blur_resize is the fair comparison",
    ),
    _claim(
        id="transformed-recognisable",
        statement="With blur, resizing and jitter some images are unmistakable.",
        says="some",
        needs="four classes or more of blur_resize_jitter, with judges",
        measure=partial(share_recognised, recipes=("blur_resize_jitter",)),
        claimed=thresholds.SOME,
        differs=_BY_EYE,
    ),
    _claim(
        id="half-of-lions",
        statement="With blur, resizing and jitter, half of 16 seeds give a recognisable lion.",
        says="8 of 16",
        original=0.5,
        needs=f"blur_resize_jitter of class {LION} (lion) with judges, 8 seeds or more",
        command=settings.LION,
        measure=partial(share_recognised, recipes=("blur_resize_jitter",), class_index=LION),
        claimed=_LIONS,
        differs=_BY_EYE,
    ),
    _claim(
        id="ants-clearer-untransformed",
        statement="Ants are clearer without the transformations.",
        says="clearer",
        needs=f"blur and blur_resize_jitter of class {ANT} (ant) with judges, 8 seeds or more",
        command=settings.ANT,
        measure=partial(gain_in_recognition, recipe="blur", over="blur_resize_jitter", class_index=ANT),
        claimed=above_zero(_GAIN),
        differs=_BY_EYE,
    ),
)
