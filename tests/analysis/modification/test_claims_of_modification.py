"""Claims about modified images; beside the fixture that writes such runs."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.claims import CLAIMS, claims_table

MakeRun = Callable[..., Path]


def rows_of(run: Path, claim: str) -> pd.DataFrame:
    return claims_table([run], [each for each in CLAIMS if each.id == claim])


def test_modified_images_with_two_readings_of_less(make_modify_run: MakeRun) -> None:
    run = make_modify_run(images=range(8))
    assert rows_of(run, "own-label-changes-less-first-hit")["value"].tolist() == [pytest.approx(1.9)]
    # After all steps each change of the fixture is 3: no difference is not less.
    assert rows_of(run, "own-label-changes-less")["verdict"].tolist() == ["not reproduced"]


def test_an_image_with_many_targets_counts_once(make_modify_run: MakeRun) -> None:
    run = make_modify_run(
        images=range(8), prediction=lambda index, target: target if target != 3 else index % 4
    )
    arrived = rows_of(run, "modification-arrives").iloc[0]
    # Images 3 and 7 are of class 3 itself; the other six reach two targets of three.
    assert (arrived["value"], arrived["count"]) == (pytest.approx((2 + 6 * 2 / 3) / 8), 8)
