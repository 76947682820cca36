"""The section of an attribution sweep: maps, overlays, scores and agreement, of small runs."""

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from sweeps.schemas import SCHEMA_VERSION, attribute_images, attribute_results
from sweeps.store import RunDirectory, columns_table, rows_table

SIDE = 8
METHODS = ("gradient", "occlusion")
HOSTILE = ("<script>alert(1)</script>", "\" onload='x' {{ 7 * 7 }}", "W" * 300, "../$\\frac{\u202e\u05e9")

Values = Callable[[str, int], NDArray[np.float64]]
MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]


def noise(method: str, index: int) -> NDArray[np.float64]:
    return np.random.default_rng([index, *method.encode()]).normal(size=(SIDE, SIDE))


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run of grey images; image i has the label i mod 4 and is taken for it, but for image 1."""

    def make(
        folder: str = "attribute",
        *,
        images: Sequence[int] = range(6),
        methods: Sequence[str] = METHODS,
        values: Values = noise,
        stored: Sequence[int] = range(6),
        names: Sequence[str] = ("zero", "one", "two", "three"),
        scores: Callable[[str], tuple[float, float]] = lambda method: (0.25, 0.75),
        gap: Callable[[str], float | None] = lambda method: None,
        side: int = SIDE,
        shard: str = "shard",
    ) -> Path:
        run = RunDirectory(tmp_path / folder)
        axes = {
            "target": ["predicted"],
            "method": list(methods),
            "image_index": f"0-{max(images, default=0)}",
        }
        run.update_sweep(
            lambda existing: {
                "sweep": "attribute",
                "schema_version": SCHEMA_VERSION,
                "blocks": [{"axes": axes, "shard_size": 500}],
                "invocations": [{"class_names": list(names)}],
            }
        )
        pictures = [picture(index, side) for index in images if index in stored]
        file = run.put_images(shard, 1, rows_table(pictures, attribute_images())) if pictures else None
        cells = [(method, index) for index in images for method in methods]
        rows = [
            row(method, index, names, scores(method), gap(method), file if index in stored else None)
            for method, index in cells
        ]
        maps = [values(method, index) for method, index in cells]
        run.commit(shard, table_of(rows, maps), file)
        run.mark_success()
        return tmp_path / folder

    return make


def picture(index: int, side: int) -> dict[str, Any]:
    encoded = BytesIO()
    Image.fromarray(np.full((side, side), 30 * index, np.uint8)).save(encoded, "PNG")
    return {
        "key": f"image-{index}",
        "image": {"bytes": encoded.getvalue(), "path": f"{index}.png"},
        "image_index": index,
    }


def row(
    method: str,
    index: int,
    names: Sequence[str],
    scores: tuple[float, float],
    gap: float | None,
    file: str | None,
) -> dict[str, Any]:
    return {
        "sweep": "attribute",
        "model": "deep",
        "model_digest": "d1",
        "shard_id": "shard",
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "image_file": file,
        "image_key": file and f"image-{index}",
        "dataset": "fashion",
        "split": "test",
        "image_index": index,
        "key": f"test/{index}",
        "label": index % 4,
        "label_name": names[index % 4],
        "prediction": 3 if index == 1 else index % 4,
        "confidence": 0.875,
        "checkpoint": "trained",
        "method": method,
        "target": "predicted",
        "attribution_scale": 1.0,
        "completeness_gap": gap,
        "deletion_score": scores[0] + 0.01 * index,
        "insertion_score": scores[1] + 0.01 * index,
        "batch_size": 4,
    }


def table_of(rows: Sequence[dict[str, Any]], maps: Sequence[NDArray[np.float64]]) -> pa.Table:
    """The rows with their attributions, as the sweep packs them."""
    schema = attribute_results((1, SIDE, SIDE))
    halves = [(each / (np.abs(each).max() or 1)).astype(np.float16).ravel() for each in maps]
    columns = {
        field.name: pa.array(
            [each.get(field.name) if field.nullable else each[field.name] for each in rows], field.type
        )
        for field in schema
        if field.name != "attribution"
    }
    flat = np.concatenate([*halves, np.empty(0, np.float16)])
    columns["attribution"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), SIDE * SIDE)
    return columns_table(columns, schema, len(rows))


def words(found: Any) -> str:
    return re.sub(r"\s+", " ", found.text)


def pixels(found: Any, path: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(found.path.parent / path).convert("RGB"))


def test_each_image_stands_beside_a_map_of_every_method(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run())
    pictures = [held for tag, held in found.elements if tag == "img"]
    assert [held["alt"] for held in pictures[:5]] == [
        "Image 0: 0 zero",
        "gradient of image 0, 0 zero",
        "gradient on image 0, 0 zero",
        "occlusion of image 0, 0 zero",
        "occlusion on image 0, 0 zero",
    ]
    assert len(pictures) == 6 * (1 + 2 * 2)
    assert all((found.path.parent / held["src"]).is_file() for held in pictures)
    assert "1 one ✗wrong: 3 three 87.5 %" in words(found)
    assert "0 zero ✓right: 87.5 %" in words(found)


def test_a_map_is_red_where_the_attribution_adds_and_blue_where_it_takes_away(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    def corners(method: str, index: int) -> NDArray[np.float64]:
        values = np.zeros((SIDE, SIDE))
        values[0, 0], values[7, 7] = 1, -1 if method == "gradient" else 0
        return values

    found = section_page(make_run(values=corners))
    signed, unsigned = (pixels(found, f"run-0/maps/002-{column}.png").astype(int) for column in ("00", "01"))
    assert signed[0, 0, 0] > signed[0, 0, 2] + 50
    assert signed[7, 7, 2] > signed[7, 7, 0] + 50
    assert (signed[3, 3] > 240).all()
    assert unsigned[0, 0, 0] > unsigned[0, 0, 2] + 50
    assert (unsigned[7, 7] == unsigned[3, 3]).all()


def test_an_overlay_shows_the_image_where_nothing_is_attributed(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(values=lambda method, index: np.eye(1, 64).reshape(8, 8)))
    overlay = pixels(found, "run-0/maps/004-00-overlay.png")
    assert (overlay[1:] == 120).all()
    assert overlay[0, 0, 0] > 120 > overlay[0, 0, 1]


def test_scores_come_with_intervals_and_the_best_is_marked(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    scores = {"gradient": (0.3, 0.5), "occlusion": (0.1, 0.8)}
    found = section_page(make_run(scores=scores.__getitem__))
    rows = found.rows("Method")
    assert [row[:2] for row in rows[:2]] == [["gradient", "0.325"], ["occlusion", "0.125"]]
    assert [row[4] for row in rows[:2]] == ["0.525", "0.825"]
    assert len(found.classes("strong")) == 2
    table = pd.read_csv(found.path.parent / "run-0/attribution-scores.csv")
    assert list(table["count"]) == [6] * 4
    low, high = table.loc[0, ["low", "high"]]
    assert rows[0][3] == f"{low:.3f} to {high:.3f}"


def test_the_completeness_gap_is_of_methods_that_have_one(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(gap=lambda method: 0.5 if method == "occlusion" else None))
    assert [row[7] for row in found.rows("Method")[:2]] == ["\N{EN DASH}", "0.50.5 to 0.5"]
    assert (found.path.parent / "run-0/completeness-gaps.csv").is_file()
    assert "Completeness gap" not in section_page(make_run("without"), folder="other").text


def test_methods_that_rank_pixels_alike_agree_and_opposite_ones_do_not(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    def ranked(method: str, index: int) -> NDArray[np.float64]:
        sign = {"same": 1, "cubed": 1, "opposite": -1}[method]
        return sign * noise("", index) ** (3 if method == "cubed" else 1)

    found = section_page(make_run(methods=("same", "cubed", "opposite"), values=ranked))
    cells = [row[1:] for row in found.rows("Method")[-3:]]
    assert cells == [
        ["itself", "1.00±0.00", "-1.00±0.00"],
        ["1.00±0.00", "itself", "-1.00±0.00"],
        ["-1.00±0.00", "-1.00±0.00", "itself"],
    ]
    assert len(found.classes("p10")) == 2
    assert len(found.classes("n10")) == 4
    assert "the mean over up to 6 images" in words(found)


def test_a_single_method_has_nothing_to_agree_with(make_run: MakeRun, section_page: SectionPage) -> None:
    assert "Agreement is between two methods or more" in section_page(make_run(methods=("gradient",))).text


def test_a_run_that_grows_by_a_method_for_other_images_is_shown(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    make_run(images=range(3))
    grown = make_run(images=range(3, 6), methods=("smooth_grad",), shard="later")
    found = section_page(grown)
    assert [row[0] for row in found.rows("Method")[:3]] == ["smooth_grad", "gradient", "occlusion"]
    assert len(found.classes("empty")) == 3 * 1 + 3 * 2
    # Of every pair of methods, some have no image in common.
    assert "itself" in found.rows("Method")[-1]


def test_maps_are_shown_without_images_that_were_not_stored(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(stored=()))
    assert "The run stored none of these images" in words(found)
    assert len([tag for tag, _ in found.elements if tag == "img"]) == 6 * 2
    assert not found.classes("switch")


def test_an_image_of_another_size_lies_under_no_map(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(side=2 * SIDE))
    assert len([tag for tag, _ in found.elements if tag == "img"]) == 6 * 3


def test_a_map_that_is_zero_everywhere_and_a_single_image_are_shown(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(images=[0], values=lambda method, index: np.zeros((SIDE, SIDE))))
    assert "no interval of one image" in words(found)
    assert found.rows("Method")[-1][1:] == ["\N{EN DASH}", "itself"]


def test_a_run_without_rows_says_so(make_run: MakeRun, section_page: SectionPage) -> None:
    assert "hold no rows, so there is nothing to show" in words(section_page(make_run(images=())))


def test_hostile_names_stay_text_and_reach_no_path(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(names=HOSTILE, methods=HOSTILE[:2]))
    assert "script" not in [tag for tag, _ in found.elements]
    assert not [held for _, held in found.elements if any(name.startswith("on") for name in held)]
    assert "<script>alert(1)</script>" in found.text
    written = [str(path.relative_to(found.path.parent)) for path in found.path.parent.rglob("*.*")]
    assert [path for path in written if not re.fullmatch(r"[a-z0-9/.-]+", path) or ".." in path] == []


def test_the_report_s_page_holds_the_section_and_its_figures(
    make_run: MakeRun, report: Callable[..., Path], page: Callable[[Path], Any]
) -> None:
    folder = report(make_run())
    found = page(folder / "index.html")
    assert "Attributions: attribute" in found.text
    for name in ("attribution-scores.png", "agreement.png"):
        assert (folder / "run-0" / name).read_bytes().startswith(b"\x89PNG")
        assert f"run-0/{name}" in found.links()
