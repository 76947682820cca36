"""Claims about descent from noise without any prior."""

from functools import partial

import numpy as np
import pandas as pd

from analysis.claims import settings, thresholds
from analysis.claims.claim import Claim, Measurement, above_zero
from analysis.claims.evidence import Evidence
from analysis.claims.means import SHARE, mean, paired_difference
from analysis.claims.rates import rate
from analysis.claims.recognition import IMAGE, of_recipe, share_recognised

_FROM_NOISE = ("noise_long", "sign")
# With fewer, the interval of no image at all would reach beyond one in ten.
FEWEST_IMAGES = 35


def confidence(evidence: Evidence) -> list[Measurement]:
    """Measure the mean probability of the target by the network that the image was made on."""
    rows = {recipe: of_recipe(evidence, recipe) for recipe in _FROM_NOISE}
    return [mean(each["probability"], recipe, within=SHARE) for recipe, each in rows.items() if len(each) > 1]


def share_that_rose(evidence: Evidence) -> list[Measurement]:
    """Measure the share of the images whose loss rose after at least one step."""
    rising = np.array(_rising(of_recipe(evidence, "noise_long")))
    return [rate(int((rising > 0).sum()), len(rising))] if len(rising) else []


def steadiness_gained(evidence: Evidence) -> list[Measurement]:
    """Measure how many fewer steps raise the loss if each step has the same size."""
    rows = pd.concat([of_recipe(evidence, recipe) for recipe in _FROM_NOISE])
    rows = rows.assign(rising=_rising(rows))
    return paired_difference(rows, of="rising", between="recipe", pair=("noise_long", "sign"), by=IMAGE)


def _rising(rows: pd.DataFrame) -> list[float]:
    return [float(np.mean(np.diff(each) > 0)) if len(each) > 1 else np.nan for each in rows["loss_by_step"]]


def _claim(**fields: object) -> Claim:
    defaults = {
        "section": "Modifying an input via gradient descent",
        "kind": "generate",
        "setting": settings.FLOWERS,
        "command": settings.NOISE,
    }
    return Claim(**(defaults | fields))  # type: ignore[arg-type]


CLAIMS = (
    _claim(
        id="noise-confident",
        statement="Descent from noise makes images that the network confidently takes for the target.",
        says="confidently",
        needs="four classes or more of noise_long or sign",
        measure=confidence,
        claimed=thresholds.CONFIDENTLY,
    ),
    _claim(
        id="noise-unrecognisable",
        statement="Images made by descent from noise do not resemble the class.",
        says="almost none",
        needs=f"{FEWEST_IMAGES} images or more of noise_long or sign, with judges",
        command=settings.SIGN,
        measure=partial(share_recognised, recipes=_FROM_NOISE, fewest=FEWEST_IMAGES),
        claimed=thresholds.HARDLY_ANY,
        differs="a judge network decides, not an eye",
    ),
    _claim(
        id="raw-gradient-unsteady",
        statement="A scaled-up raw gradient gives no guarantee that a step lowers the loss.",
        says="no guarantee",
        needs="four classes or more of noise_long",
        measure=share_that_rose,
        claimed=thresholds.SOME,
    ),
    _claim(
        id="sign-steadier",
        statement="Steps along the gradient's sign, all of one size, are steadier.",
        says="stabilises",
        needs="noise_long and sign of the same four classes or more",
        measure=steadiness_gained,
        claimed=above_zero("share of steps that raise the loss: raw gradient minus sign"),
        differs="from noise; the original applies the sign to photographs at once",
    ),
)
