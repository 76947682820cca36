"""Claims about attributions of a trained network."""

from functools import partial

from analysis.claims import settings
from analysis.claims.claim import Claim, Measurement, above_zero
from analysis.claims.evidence import Evidence
from analysis.claims.means import paired_difference

_COMBINED, _GRADIENT = "occlusion_gradient_x_input", "gradient_x_input"
_SECTION = "Additive Attributions for Non-Locality"


def gain_of_occlusion(evidence: Evidence, score: str, order: tuple[str, str]) -> list[Measurement]:
    """Measure the mean score of the first method of the order minus that of the second, image by image."""
    return paired_difference(
        evidence.rows, of=score, between="method", pair=order, by=["image_index", "target"], subject=score
    )


def _claim(**fields: object) -> Claim:
    return Claim(
        section=_SECTION,
        says="fairly robust",
        kind="attribute",
        setting=settings.FLOWERS,
        needs=f"{_GRADIENT} and {_COMBINED} of the same images and target",
        command=settings.ATTRIBUTE,
        form="number",
        differs="the original gives no measure; deletion and insertion are ours",
        **fields,  # type: ignore[arg-type]
    )


CLAIMS = (
    _claim(
        id="occlusion-combined-deletion",
        statement="Gradient × input combined with occlusion is a fairly robust attribution. Read as: blanking "
        "what it names first, the prediction falls faster than with gradient × input alone.",
        measure=partial(gain_of_occlusion, score="deletion_score", order=(_GRADIENT, _COMBINED)),
        claimed=above_zero(
            "deletion score of gradient × input minus that of the combination; less is better"
        ),
    ),
    _claim(
        id="occlusion-combined-insertion",
        statement="Gradient × input combined with occlusion is a fairly robust attribution. Read as: uncovering "
        "what it names first, the prediction rises faster than with gradient × input alone.",
        measure=partial(gain_of_occlusion, score="insertion_score", order=(_COMBINED, _GRADIENT)),
        claimed=above_zero(
            "insertion score of the combination minus that of gradient × input; more is better"
        ),
    ),
)
