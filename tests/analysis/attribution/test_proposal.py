"""The gradient integrated over training beside other methods: image by image, averaged over the seeds first."""

import numpy as np
import pandas as pd
import pytest

from analysis.training.proposal import (
    MEASURES,
    PAIRS,
    SUM,
    proposal_differences,
    proposal_figure,
    proposal_scores,
    scored_images,
)

NUM_IMAGES = 20
METHODS = sorted({name for pair in PAIRS for name in pair})


def frame(change: dict[str, float], seeds: dict[str, float] | None = None) -> pd.DataFrame:
    """Rows of two trainings: a score of 0.5 by image, changed for the method and, of it, by the training."""
    seeds = seeds or {"s0": 0.0, "s1": 0.0}
    noise = np.random.default_rng(0).normal(0, 0.1, NUM_IMAGES)
    rows = [
        {"model": "net", "trial": trial, "method": method, "image_index": index}
        | {
            measure: 0.5 + noise[index] + change.get(method, 0.0) + (offset if method == SUM else 0.0)
            for measure in MEASURES
        }
        for trial, offset in seeds.items()
        for method in METHODS
        for index in range(NUM_IMAGES)
    ]
    return pd.DataFrame(rows)


def verdicts(rows: pd.DataFrame) -> dict[str, str]:
    found = proposal_differences(rows)
    own = found[(found["method"] == SUM) & (found["other"] == "loss_gradient")]
    return dict(zip(own["measure"], own["verdict"], strict=True))


def test_scores_are_means_over_images_of_means_over_seeds() -> None:
    rows = frame({}, {"s0": 0.1, "s1": 0.3})
    scores = proposal_scores(rows).set_index(["method", "measure"])
    by_image = rows[rows["method"] == SUM].groupby("image_index")["deletion_score"].mean()
    row = scores.loc[(SUM, "deletion_score")]
    assert row["mean"] == pytest.approx(by_image.mean())
    assert (row["count"], row["num_trials"]) == (NUM_IMAGES, 2)
    half = row["high"] - row["mean"]
    assert half == pytest.approx(2.093 * by_image.std() / NUM_IMAGES**0.5, rel=2e-3), (
        "Student's t, 19 degrees"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (-0.05, {"deletion_score": "better", "insertion_score": "worse", "unexplained": "better"}),
        (0.05, {"deletion_score": "worse", "insertion_score": "better", "unexplained": "worse"}),
    ],
)
def test_a_difference_is_named_by_what_the_score_calls_good(change, expected) -> None:
    jitter = frame({SUM: change})
    jitter.loc[jitter["method"] == SUM, list(MEASURES)] += np.random.default_rng(1).normal(
        0, 0.01, (2 * NUM_IMAGES, 1)
    )
    assert verdicts(jitter) == expected


def test_seeds_that_disagree_leave_it_undecided() -> None:
    assert set(verdicts(frame({SUM: 0.02}, {"s0": 0.2, "s1": -0.1})).values()) == {"undecided"}


def test_images_without_a_number_are_left_out() -> None:
    rows = frame({SUM: 0.05})
    rows.loc[rows["image_index"] < 5, "unexplained"] = np.nan
    counts = proposal_differences(rows).set_index(["method", "other", "measure"])["count"]
    assert counts.loc[(SUM, "loss_gradient", "unexplained")] == NUM_IMAGES - 5
    assert counts.loc[(SUM, "loss_gradient", "deletion_score")] == NUM_IMAGES


def test_the_figure_has_a_panel_for_each_network_and_score() -> None:
    rows = pd.concat([frame({}), frame({}).assign(model="other")])
    figure = proposal_figure(rows, proposal_scores(rows))
    assert len(figure.axes) == 2 * len(MEASURES)
    assert next(text.get_text() for text in figure.axes[0].get_yticklabels()) == "loss gradient"


def test_a_run_without_a_training_is_refused(make_attribute_run) -> None:
    with pytest.raises(ValueError, match="has no sums over a training"):
        scored_images([make_attribute_run()])
