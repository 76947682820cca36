"""Claims about what gradients show of their input, before, along and after training."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attribution.attributions import INTEGRATED, attribution_values, load_images
from analysis.claims import settings, thresholds
from analysis.claims.claim import Claim, Measurement, above_zero
from analysis.claims.evidence import Evidence
from analysis.claims.means import CORRELATION, mean
from analysis.training.gradients import training_integrated_gradient
from analysis.training.recapitulation import METHOD, similarities

# Of the pixels, the share that counts as where the attribution is focused.
FOCUS = 0.1
_FASHION, _ADVERSARIAL = "Introduction: Fashion MNIST", "Adversarial Examples"
_LOCALITY = "Additive Attributions for Non-Locality"

_NAMES = {
    "cosine": "cosine with the image",
    "image_correlation": "correlation with the image",
    "edge_correlation": "correlation with its edges",
}
CORRELATIONS = ("image_correlation", "edge_correlation")


def _by_trial(evidence: Evidence, method: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a method's rows of each training, in the order of the panel, with its name if there are several."""
    rows = evidence.rows[evidence.rows["method"] == method].sort_values(["step", "image_index"])
    several = rows["trial"].nunique() > 1
    for trial, group in rows.groupby("trial", observed=True):
        yield (f"{trial}, " if several else ""), group


def _ends(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return the rows of the untrained network and of the last state; None if one is missing."""
    last = rows["step"].max()
    first, last_rows = rows[rows["step"] == 0], rows[rows["step"] == last]
    if last == 0 or first.empty or list(first["image_index"]) != list(last_rows["image_index"]):
        return None
    return first, last_rows


def _similarity(evidence: Evidence, rows: pd.DataFrame, values: NDArray[np.floating]) -> pd.DataFrame:
    """Return the similarity of the size of each row's gradient to its image."""
    images = load_images(evidence.run, rows)
    return similarities(np.abs(values).astype(np.float32), list(rows["image_key"]), images)


def _stored(rows: pd.DataFrame) -> bool:
    return bool(rows["image_key"].notna().all())


def similarity_gained(evidence: Evidence) -> list[Measurement]:
    """Measure how much more alike |loss gradient| and image are after training than before, image by image."""
    found = []
    for name, rows in _by_trial(evidence, METHOD):
        if (ends := _ends(rows)) and _stored(rows):
            first, last = (
                _similarity(evidence, each, attribution_values(evidence.run, each)) for each in ends
            )
            found += [mean(last[each] - first[each], f"{name}{label}") for each, label in _NAMES.items()]
    return found


def similarity(evidence: Evidence, trained: bool) -> list[Measurement]:
    """Measure how alike |loss gradient| and image are before training, or after it."""
    found = []
    for name, rows in _by_trial(evidence, METHOD):
        if (ends := _ends(rows)) and _stored(rows):
            chosen = ends[1 if trained else 0]
            measured = _similarity(evidence, chosen, attribution_values(evidence.run, chosen))
            found += [
                mean(measured[each], f"{name}{_NAMES[each]}", within=CORRELATION) for each in CORRELATIONS
            ]
    return found


def focus_gained(evidence: Evidence) -> list[Measurement]:
    """Measure how much more of gradient × input the strongest tenth of the pixels holds after training."""
    found = []
    for name, rows in _by_trial(evidence, "gradient_x_input"):
        if ends := _ends(rows):
            first, last = (focus(attribution_values(evidence.run, each)) for each in ends)
            found.append(mean(last - first, name.removesuffix(", ")))
    return found


def focus(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of each image's |attribution| `[N, C, H, W]` in the strongest tenth of its pixels."""
    sizes = np.sort(np.abs(values.astype(np.float64)).sum(1).reshape(len(values), -1))[:, ::-1]
    total = sizes.sum(1)
    strongest = sizes[:, : max(1, round(FOCUS * sizes.shape[1]))].sum(1)
    return np.where(total > 0, strongest / np.where(total > 0, total, 1), np.nan)


def similarity_of_the_sum(evidence: Evidence) -> list[Measurement]:
    """Measure how much more the gradient summed over training resembles the image than the last gradient does."""
    if INTEGRATED not in set(evidence.rows["method"]):
        return []
    sums, values = training_integrated_gradient(evidence.run)
    found = []
    for name, rows in _by_trial(evidence, METHOD):
        places = np.flatnonzero(sums["trial"].astype("str") == str(rows["trial"].iloc[0]))
        summed, ends = sums.iloc[places], _ends(rows)
        if ends is None or not _stored(rows) or list(summed["image_index"]) != list(ends[1]["image_index"]):
            continue
        one = _similarity(evidence, summed, values[places])
        other = _similarity(evidence, ends[1], attribution_values(evidence.run, ends[1]))
        found += [mean(one[each] - other[each], f"{name}{_NAMES[each]}") for each in CORRELATIONS]
    return found


def _claim(**fields: object) -> Claim:
    defaults = {
        "kind": "attribute_training",
        "setting": settings.FLOWERS,
        "command": settings.TRAINING,
        "needs": "loss_gradient at step 0 and at a later one, with its images",
        "form": "number",
    }
    return Claim(**(defaults | fields))  # type: ignore[arg-type]


_BY_EYE = "the original judges by eye"

CLAIMS = (
    _claim(
        id="attribution-focuses",
        section=_FASHION,
        statement="Gradient × input is mostly random before training and focuses on certain features after it. "
        "Read as: fewer pixels hold more of it.",
        says="focuses",
        setting=settings.FASHION,
        needs="gradient_x_input at step 0 and at a later one",
        measure=focus_gained,
        claimed=above_zero("the gain in the share that the strongest tenth of the pixels holds"),
        form="share",
        bound=True,
        differs=_BY_EYE,
    ),
    _claim(
        id="untrained-gradient-blank",
        section=_ADVERSARIAL,
        statement="An untrained network's loss gradient preserves practically nothing of the image.",
        says="practically nothing",
        measure=partial(similarity, trained=False),
        claimed=thresholds.UNLIKE,
        differs=_BY_EYE,
    ),
    _claim(
        id="trained-gradient-recapitulates",
        section=_ADVERSARIAL,
        statement="A trained network's loss gradient mirrors features of the image, edges among them.",
        says="mirrors",
        measure=partial(similarity, trained=True),
        claimed=thresholds.ALIKE,
        differs=_BY_EYE,
    ),
    _claim(
        id="training-brings-recapitulation",
        section=_LOCALITY,
        statement="Training makes the loss gradient more alike to the image (there after 40 epochs).",
        says="rises",
        measure=similarity_gained,
        claimed=above_zero("similarity after training minus that before"),
        differs=_BY_EYE,
    ),
    _claim(
        id="sum-over-training",
        section=_LOCALITY,
        statement="Summed over all states of training, the loss gradient is an attribution too (a proposal "
        "without a result). Read as: it is more alike to the image than the trained network's own gradient.",
        says="proposed",
        needs="training_integrated_gradient without a gap, and loss_gradient at step 0 and the last",
        measure=similarity_of_the_sum,
        claimed=above_zero("similarity of the sum minus that of the last gradient"),
        differs="our reading of a proposal",
    ),
)
