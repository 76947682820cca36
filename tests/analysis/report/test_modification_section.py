"""The section of a sweep that modifies real images: rates by target, distances, images, of small runs."""

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.intervals import mean_interval, wilson_interval
from sweeps.schemas import SCHEMA_VERSION, modify_images, modify_results
from sweeps.store import RunDirectory, rows_table

NUM_CLASSES = 4
HOSTILE = ("<script>alert(1)</script>", "\" onload='x' {{ 7 * 7 }}", "W" * 300, "$\\frac{\u202e\u05e9")

Hit = Callable[[int, int], float | None]
MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run whose image i has the label i mod 4; `hit` is the l2 norm at the first hit, None without one.

    An image that was hit is taken for its target in the end, another for its label.
    """

    numbers = count()

    def make(
        *,
        images: Sequence[int] = range(8),
        targets: Sequence[int] = range(NUM_CLASSES),
        hit: Hit = lambda index, target: 1.0 + target,
        stored: bool = True,
        name: Callable[[int], str] = lambda index: f"class {index}",
    ) -> Path:
        folder = tmp_path / f"modify-{next(numbers)}"
        run = RunDirectory(folder)
        run.update_sweep(lambda existing: {"sweep": "modify", "schema_version": SCHEMA_VERSION})
        pictures = [picture(index, target) for index in images for target in (None, *targets)]
        file = run.put_images("shard", 1, rows_table(pictures, modify_images())) if stored else None
        rows = [
            modified(index, target, hit(index, target), name) | files(index, target, file)
            for index in images
            for target in targets
        ]
        run.commit("shard", rows_table(rows, modify_results()), file)
        return folder

    return make


def words(found: Any) -> str:
    return " ".join(found.text.split())


def files(index: int, target: int, file: str | None) -> dict[str, str | None]:
    return {
        "image_file": file,
        "clean_file": file,
        "image_key": file and f"{index}-{target}",
        "clean_key": file and f"{index}-None",
    }


def picture(index: int, target: int | None) -> dict[str, Any]:
    encoded = BytesIO()
    pixels = np.full((8, 8), 100, np.uint8)
    if target is not None:
        pixels[0, :target] += 50
        pixels[1, 0] -= 25
    Image.fromarray(pixels).save(encoded, "PNG")
    return {
        "key": f"{index}-{target}",
        "image": {"bytes": encoded.getvalue(), "path": f"{index}.png"},
        "image_index": index,
        "target": target,
        "kind": "clean" if target is None else "modified",
    }


def modified(index: int, target: int, hit: float | None, name: Callable[[int], str]) -> dict[str, Any]:
    label = index % NUM_CLASSES
    norms = {f"hit_{norm}": hit for norm in ("linf", "l2", "l1")}
    return {
        "sweep": "modify",
        "model": "fashion_deep",
        "model_digest": "d",
        "shard_id": "shard",
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "image_index": index,
        "target": target,
        "dataset": "fashion_mnist",
        "split": "test",
        "key": f"test/{index}",
        "label": label,
        "label_name": name(label),
        "target_name": name(target),
        "num_steps": 30,
        "step_size": 0.01,
        "initial_prediction": label,
        "initial_confidence": 0.9,
        "prediction": label if hit is None else target,
        "confidence": 0.8,
        "target_logit": 1.0,
        "target_probability": 0.8,
        "first_hit_step": None if hit is None else 10,
        "linf": 0.3,
        "l2": 3.0,
        "l1": 9.0,
        **norms,
        "logit_by_step": [0.0],
        "argmax_by_step": [0],
        "batch_size": 4,
    }


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
