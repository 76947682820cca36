"""Claims about attributions; beside the fixtures that write such runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from analysis.claims import CLAIMS, claims_table
from analysis.claims.along_training import focus

MakeRun = Callable[..., Path]
Shape = tuple[int, int, int]
Pixels = Callable[[int, Shape], NDArray[np.uint8]]

PANEL = range(12)


def rows_of(run: Path, claim: str) -> pd.DataFrame:
    return claims_table([run], [each for each in CLAIMS if each.id == claim])


@pytest.fixture
def recapitulating(make_training_run: MakeRun, pixels: Pixels) -> MakeRun:
    """Trainings whose gradient is noise at first and the image, or its negative, in the states `alike`."""

    def make(alike: Callable[[int], bool], **fields: object) -> Path:
        def values(trial: str, method: str, step: int, index: int, shape: Shape) -> NDArray[np.float64]:
            if not alike(step):
                return np.random.default_rng([step, index]).normal(size=shape)
            image = np.moveaxis(pixels(index, shape), -1, 0) / 255
            return -image if step % 2 else image

        return make_training_run(values=values, panel=PANEL, **fields)

    return make


def test_a_gradient_that_comes_to_mirror_its_image_bears_the_claims_out(recapitulating: MakeRun) -> None:
    run = recapitulating(alike=lambda step: step == 8)
    gained = rows_of(run, "training-brings-recapitulation")
    assert gained["subject"].tolist() == [
        "cosine with the image",
        "correlation with the image",
        "correlation with its edges",
    ]
    assert gained["finding"].tolist()[:2] == ["agrees", "agrees"]
    assert gained["count"].tolist() == [len(PANEL)] * 3
    trained = rows_of(run, "trained-gradient-recapitulates")
    # The images are noise: their edges are not where they are bright.
    assert trained["value"].iloc[0] == pytest.approx(1, abs=1e-3)
    assert abs(trained["value"].iloc[1]) < 0.3
    assert trained["verdict"].iloc[0] == "partly"
    assert "fashion_deep on fashion_mnist in place of" in trained["differs"].iloc[0]


def test_a_gradient_that_loses_its_image_speaks_against_them(recapitulating: MakeRun) -> None:
    run = recapitulating(alike=lambda step: step == 0)
    assert rows_of(run, "training-brings-recapitulation")["finding"].tolist()[:2] == ["disagrees"] * 2
    assert rows_of(run, "untrained-gradient-blank")["finding"].iloc[0] == "disagrees"


def test_the_sum_over_training_is_held_against_the_last_gradient(recapitulating: MakeRun) -> None:
    run = recapitulating(alike=lambda step: step < 8 and step % 2 == 0)
    rows = rows_of(run, "sum-over-training")
    assert rows["finding"].iloc[0] == "agrees"
    assert rows["count"].iloc[0] == len(PANEL)


def test_a_gap_in_the_training_is_the_reason_given(recapitulating: MakeRun) -> None:
    run = recapitulating(alike=lambda step: step == 8, missing=(0,))
    row = rows_of(run, "sum-over-training").iloc[0]
    assert row["verdict"] == "not measured"
    assert "the states of steps 0 to 4 are in no committed segment" in row["needs"]
    # Without the untrained network there is nothing to compare with.
    assert rows_of(run, "training-brings-recapitulation")["verdict"].iloc[0] == "not measured"


def test_images_that_were_not_stored_are_like_nothing(recapitulating: MakeRun) -> None:
    run = recapitulating(alike=lambda step: True, stored=False)
    assert rows_of(run, "training-brings-recapitulation")["verdict"].iloc[0] == "not measured"


def test_each_of_several_trainings_has_a_measurement(recapitulating: MakeRun) -> None:
    run = recapitulating(alike=lambda step: step == 8, trials=("a", "b"))
    subjects = rows_of(run, "trained-gradient-recapitulates")["subject"]
    assert [subject[:3] for subject in subjects] == ["a, ", "a, ", "b, ", "b, "]


def test_focus_is_the_share_of_the_strongest_tenth() -> None:
    even, single = np.ones((1, 1, 10, 10)), np.zeros((1, 1, 10, 10))
    single[0, 0, 3, 4] = -2
    tenth = np.concatenate([even, single, 0 * even])
    assert focus(tenth)[:2] == pytest.approx([0.1, 1])
    # An attribution of nothing has no focus.
    assert np.isnan(focus(tenth)[2])


def test_occlusion_is_compared_image_by_image(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(
        images=range(8),
        methods=("gradient_x_input", "occlusion_gradient_x_input"),
        scores=lambda method, index: (
            (0.5 + 0.01 * index, 0.5) if method[0] == "g" else (0.2, 0.6 - 0.1 * (index % 2))
        ),
    )
    deletion = rows_of(run, "occlusion-combined-deletion").iloc[0]
    assert deletion["value"] == pytest.approx(0.335)
    assert deletion["verdict"] == "reproduced"
    insertion = rows_of(run, "occlusion-combined-insertion").iloc[0]
    assert insertion["value"] == pytest.approx(0.05)
    # 0.1 and 0 in turn: s = 0.0535, t(7) = 2.365.
    assert insertion["low"] == pytest.approx(0.05 - 2.365 * 0.05345 / np.sqrt(8), abs=1e-4)
