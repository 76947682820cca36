"""The scores by name. Another score is another entry of `SCORES`."""

from collections.abc import Mapping, Sequence

from attrib_core.attribution.scores.infidelity import (
    INFIDELITY,
    OF_ZERO,
    SCALED,
    InfidelitySettings,
    infidelity,
)
from attrib_core.attribution.scores.pointing import POINTING_HIT, PointingSettings, pointing_game
from attrib_core.attribution.scores.ranking import DELETION, INSERTION, deletion, insertion
from attrib_core.attribution.scores.road import LEAST_FIRST, MOST_FIRST, ROAD, RoadSettings, road
from attrib_core.attribution.scores.score import Score
from attrib_core.attribution.scores.sensitivity import (
    MAX_SENSITIVITY,
    MaxSensitivitySettings,
    max_sensitivity,
)
from attrib_core.references import parse_reference, typed_fields, unknown

SCORES: dict[str, Score] = {
    "deletion": Score(columns=(DELETION,), compute=deletion),
    "insertion": Score(columns=(INSERTION,), compute=insertion),
    "infidelity": Score(
        columns=(INFIDELITY, SCALED, OF_ZERO), compute=infidelity, settings=InfidelitySettings()
    ),
    "max_sensitivity": Score(
        columns=(MAX_SENSITIVITY,), compute=max_sensitivity, settings=MaxSensitivitySettings()
    ),
    "pointing_game": Score(
        columns=(POINTING_HIT,), compute=pointing_game, settings=PointingSettings(), needs_boxes=True
    ),
    "road": Score(columns=(ROAD, MOST_FIRST, LEAST_FIRST), compute=road, settings=RoadSettings()),
}


def score_named(text: str) -> Score:
    """Return the score that a reference names, such as `infidelity:num_samples=50`.

    Raises ValueError that names the reference and what is wrong.
    """
    reference = parse_reference("scores", text)
    if reference.target not in SCORES:
        raise ValueError(f"scores={text!r}: {unknown('score', reference.target, SCORES)}")
    score = SCORES[reference.target]
    if not reference.settings:
        return score
    if score.settings is None:
        raise ValueError(f"scores={text!r}: {reference.target} has no settings; accepted is its name alone")
    return score.with_settings(typed_fields("scores", reference, type(score.settings), score.names))


def check_boxes_given(scores: Mapping[str, Score], *, has_boxes: bool) -> None:
    """Raise ValueError for scores that need boxes where there are none."""
    for name, score in scores.items():
        if score.needs_boxes and not has_boxes:
            raise ValueError(
                f"scores={name!r}: it needs boxes; accepted with boxes=... of attribute(), and in a sweep with "
                "--dataset parquet:URL --boxes-column NAME, or a function that returns a Dataset with `boxes`"
            )


def scores_named(texts: Sequence[str]) -> dict[str, Score]:
    """Return scores by their references. Raises ValueError for two that fill the same column."""
    scores = {text: score_named(text) for text in texts}
    filled: dict[str, str] = {}
    for text, score in scores.items():
        for column in score.columns:
            if column in filled:
                raise ValueError(
                    f"scores: {filled[column]!r} and {text!r} fill one column, {column}; name one of them"
                )
            filled[column] = text
    return scores
