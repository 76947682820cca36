"""The section of a sweep that modifies real images: rates by target, distances, images, of small runs."""

import re
from collections.abc import Callable
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from analysis.intervals import mean_interval, wilson_interval
from sweeps.schemas import SCHEMA_VERSION, modify_results
from sweeps.store import RunDirectory, rows_table

HOSTILE = ("<script>alert(1)</script>", "\" onload='x' {{ 7 * 7 }}", "W" * 300, "$\\frac{\u202e\u05e9")

Hit = Callable[[int, int], float | None]
MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]


@pytest.fixture
def make_run(make_modify_run: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a run; `hit` is the l2 norm at the first hit, None without one.

    An image that was hit is taken for its target in the end, another for its label.
    """
    numbers = count()

    def make(*, hit: Hit = lambda index, target: 1.0 + target, **fields: Any) -> Path:
        content = {
            "images": range(8),
            "l2": hit,
            "prediction": lambda index, target: index % 4 if hit(index, target) is None else target,
            "draw": draw,
            "first_hit_step": 10,
        }
        return make_modify_run(f"modify-{next(numbers)}", **(content | fields))

    return make


def draw(index: int, target: int | None) -> NDArray[np.uint8]:
    """Grey; a modified image has as many brighter pixels as its target, and one darker by half as much."""
    pixels = np.full((8, 8, 1), 100, np.uint8)
    if target is not None:
        pixels[0, :target] += 50
        pixels[1, 0] -= 25
    return pixels


def words(found: Any) -> str:
    return " ".join(found.text.split())


def test_rates_and_distances_by_target_are_of_the_images_of_other_classes(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    # Target 2 has the images 0, 1, 3, 4, 5 and 7 of other classes, of which 0 and 4 never reach it.
    run = make_run(hit=lambda index, target: None if (index % 4, target) == (0, 2) else 1.0 + index)
    found = section_page(run)
    table = pd.read_csv(found.path.parent / "run-0" / "modification-targets.csv").set_index("target")
    row = table.loc[2]
    low, high = map(float, wilson_interval(4, 6))
    assert row[["count", "rate", "low", "high", "reached"]].tolist() == pytest.approx(
        [6, 4 / 6, low, high, 4 / 6]
    )
    mean, mean_low, mean_high, _ = map(float, mean_interval([2.0, 4.0, 6.0, 8.0]))
    assert row[["mean", "mean_low", "mean_high"]].tolist() == pytest.approx([mean, mean_low, mean_high])
    assert row[["lower_quartile", "median", "upper_quartile", "steps"]].tolist() == [3.5, 5, 6.5, 10]
    shown = ["2 class 2", "6", "66.7 %", "", "30.0 to 90.3 %", "66.7 %", "10", "5.00", "0.90 to 9.10"]
    assert found.rows("Target")[2][:9] == shown


def test_the_own_label_is_held_against_other_classes(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(hit=lambda index, target: 0.5 if index % 4 == target else 2.0 + index))
    assert "an l2 norm of 0.50, towards other classes 5.50: 5.00 more" in words(found)
    assert "own label" not in words(section_page(make_run(targets=(0,), images=(1, 2)), "others"))


def test_labels_by_targets_are_coloured_and_the_own_label_is_framed(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(hit=lambda index, target: None if target == 3 else 1.0 + target))
    assert found.rows("Label")[0] == ["0 class 0", "100", "100", "100", "0"]
    norms = found.rows("Label")[5:]
    assert norms[0] == ["0 class 0", "1.00", "2.00", "3.00", "\N{EN DASH}"]
    assert len(found.classes("own")) == 8


def test_images_stand_beside_what_they_became_and_the_difference(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(hit=lambda index, target: None if index < 4 else 1.0))
    pictures = [held for tag, held in found.elements if tag == "img"]
    assert len(pictures) == 12 * 3
    verdicts = [held["class"] for held in found.classes("verdict")][1::2]
    assert verdicts == ["verdict good"] * 6 + ["verdict bad"] * 6
    target = int(re.fullmatch(r"image \d+ modified towards class (\d)", pictures[-2]["alt"])[1])
    with Image.open(BytesIO((found.path.parent / pictures[-1]["src"]).read_bytes())) as written:
        change = np.asarray(written)[..., 0]
    # Half as much was taken away as was added, or alone.
    assert change[1, 0] == (64 if target else 0)
    assert (change[0, :target] == 255).all()
    assert change[2, 2] == 128


def test_different_images_are_shown(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(images=range(40)))
    alts = [held["alt"] for tag, held in found.elements if tag == "img"]
    assert len({alt for alt in alts if alt.endswith("as it is")}) >= 10


def test_a_run_that_stored_no_image_says_so(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(stored=False))
    assert "The run stored no image towards another class" in words(found)


def test_targets_that_are_the_own_label_alone_and_targets_that_nobody_reached(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(images=(1, 5), targets=(1,)), "own")
    assert "there is no other class to become" in found.text
    never = section_page(make_run(hit=lambda index, target: None, images=range(4)), "never")
    dash = "\N{EN DASH}"
    assert never.rows("Target")[0][2:] == [
        "0.0 %",
        "",
        "0.0 to 56.1 %",
        "0.0 %",
        dash,
        dash,
        dash,
        " · ".join([dash] * 3),
        "3.00",
    ]


def test_an_unfinished_run_and_one_without_rows_say_so(
    make_run: MakeRun, section_page: SectionPage, describe_run: Callable[..., None], tmp_path: Path
) -> None:
    run = make_run()
    axes = {"target": "0-3", "image_index": "0-15"}
    describe_run(run, finished=False, blocks=[{"axes": axes, "shard_size": 8}])
    assert "1 of 8 planned shards are committed; 7 are missing." in words(section_page(run, "unfinished"))
    bare = RunDirectory(tmp_path / "bare")
    bare.update_sweep(lambda existing: {"sweep": "modify", "schema_version": SCHEMA_VERSION})
    bare.commit("shard", rows_table([], modify_results()), None)
    assert "hold no rows, so there is nothing to show" in words(
        section_page(tmp_path / "bare", "bare-section")
    )


def test_of_many_classes_the_matrix_is_a_picture(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(images=range(4), targets=range(30)))
    [figure] = [held for tag, held in found.elements if tag == "img" and "matrices" in (held["alt"] or "")]
    assert figure["src"] == "run-0/modifications.png"


def test_hostile_names_stay_text_and_reach_no_path(
    make_run: MakeRun, report: Callable[..., Path], page: Callable[[Path], Any]
) -> None:
    folder = report(make_run(name=lambda index: HOSTILE[index]))
    found = page(folder / "index.html")
    assert [tag for tag, _ in found.elements].count("script") == 1
    assert not [held for _, held in found.elements if any(name.startswith("on") for name in held)]
    assert "{{ 7 * 7 }}" in found.text
    written = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert [path for path in written if not re.fullmatch(r"[a-z0-9/.-]+", path) or ".." in path] == []
