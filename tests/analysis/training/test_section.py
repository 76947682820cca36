"""The section of attribution along training: video, curves, recapitulation, maps, of small runs."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from analysis.drawing import encoding
from analysis.training.trials import thinned
from sweeps.schemas import SCHEMA_VERSION, training_images, training_results
from sweeps.store import RunDirectory, columns_table, rows_table

SIDE, PANEL = 8, (0, 1, 5)
STATES = (range(4), range(4, 7))  # of each segment
OWN, SUMMED = ("gradient_x_input", "loss_gradient"), ("training_integrated_gradient", "gradient_variance")
NAMES = ("zero", "one", "two", "three")
HOSTILE = ("<script>alert(1)</script>", "\" onload='x' {{ 7 * 7 }}", "W" * 300, "../$\\frac{\u202e\u05e9")

Values = Callable[[int, int], NDArray[np.float64]]
MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]


def pixels(index: int) -> NDArray[np.uint8]:
    return np.random.default_rng(index).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def noise(step: int, index: int) -> NDArray[np.float64]:
    return np.random.default_rng([step, index]).normal(size=(SIDE, SIDE))


def ever_more_alike(step: int, index: int) -> NDArray[np.float64]:
    """The image itself in the end, and noise at first."""
    return step * pixels(index) / 255 + (6 - step) * np.abs(noise(0, index))


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run of three images along a training of six updates; all are right from step 4 on."""

    def make(
        folder: str = "training",
        *,
        trials: Sequence[str] = ("trial-a",),
        methods: Sequence[str] = OWN + SUMMED,
        values: Values = noise,
        segments: Sequence[range] = STATES,
        stored: bool = True,
        names: Sequence[str] = NAMES,
    ) -> Path:
        run = RunDirectory(tmp_path / folder)
        run.update_sweep(
            lambda existing: {
                "sweep": "attribute_training",
                "schema_version": SCHEMA_VERSION,
                "invocations": [{"class_names": list(names)}],
            }
        )
        for number, trial in enumerate(trials):
            for part, steps in enumerate(segments):
                shard = f"{number}-{part}"
                pictures = rows_table([picture(trial, index) for index in PANEL], training_images())
                file = run.put_images(shard, 1, pictures) if stored else None
                cells = [cell for method in methods for cell in cells_of(method, steps)]
                rows = [row(shard, trial, *cell, names, file) for cell in cells]
                run.commit(shard, table_of(rows, cells, values), file)
        return tmp_path / folder

    return make


def cells_of(method: str, steps: range) -> Iterator[tuple[str, range, int]]:
    """Method, states and image of the rows of a segment; a sum is over all of its states."""
    for states in [steps] if method in SUMMED else [range(step, step + 1) for step in steps]:
        for index in PANEL:
            yield method, states, index


def picture(trial: str, index: int) -> dict[str, Any]:
    encoded = BytesIO()
    Image.fromarray(pixels(index)).save(encoded, "PNG")
    return {
        "key": f"{trial}-{index}",
        "trial": trial,
        "image": {"bytes": encoded.getvalue(), "path": f"{index}.png"},
        "image_index": index,
    }


def row(
    shard: str, trial: str, method: str, states: range, index: int, names: Sequence[str], file: str | None
) -> dict[str, Any]:
    step = states[-1] if len(states) else 0
    return {
        "sweep": "attribute_training",
        "model": "deep",
        "model_digest": "d1",
        "shard_id": shard,
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "image_file": file,
        "image_key": file and f"{trial}-{index}",
        "trial": trial,
        "learning_rate": 0.001,
        "seed": 0,
        "step": step,
        "epoch": 0,
        "training_loss": None if step == 0 else 2.0 / step,
        "dataset": "fashion",
        "split": "test",
        "image_index": index,
        "key": f"test/{index}",
        "label": index % 4,
        "label_name": names[index % 4],
        "prediction": index % 4 if step >= 4 else 3,
        "confidence": 0.875,
        "method": method,
        "target": "loss",
        "attribution_scale": 1.0,
        "num_states": len(states),
    }


def table_of(
    rows: Sequence[dict[str, Any]], cells: Sequence[tuple[str, range, int]], values: Values
) -> pa.Table:
    schema = training_results((1, SIDE, SIDE))
    states = [np.stack([values(step, index) for step in steps]) for _, steps, index in cells]
    halves = [(each.sum(0) / np.abs(each.sum(0)).max()).astype(np.float16).ravel() for each in states]
    summed = [method in SUMMED for method, _, _ in cells]
    held: dict[str, list[Any]] = {
        "gradient_sum": [
            each.sum(0).ravel() if is_sum else None for each, is_sum in zip(states, summed, strict=True)
        ],
        "gradient_sum_of_squares": [
            (each**2).sum(0).ravel() if method == SUMMED[1] else None
            for each, (method, _, _) in zip(states, cells, strict=True)
        ],
    }
    columns = {
        field.name: pa.array(
            held[field.name]
            if field.name in held
            else [each.get(field.name) if field.nullable else each[field.name] for each in rows],
            field.type,
        )
        for field in schema
        if field.name != "attribution"
    }
    flat = np.concatenate([*halves, np.empty(0, np.float16)])
    columns["attribution"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), SIDE * SIDE)
    return columns_table(columns, schema, len(rows))


def words(found: Any) -> str:
    return re.sub(r"\s+", " ", found.text)


def test_the_video_shows_every_state_in_both_formats(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run())
    [video] = [held for tag, held in found.elements if tag == "video"]
    sources = [held for tag, held in found.elements if tag == "source"]
    assert [held["type"] for held in sources] == ["video/mp4", "video/webm"]
    assert video["preload"] == "metadata"
    assert "controls" in video
    for held in sources:
        with av.open(found.path.parent / held["src"]) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 7
        assert frames[0].shape == (int(video["height"]), int(video["width"]), 3)
        assert any((frames[0] != frame).any() for frame in frames[1:])
    with Image.open(found.path.parent / video["poster"]) as poster:
        assert poster.size == (int(video["width"]), int(video["height"]))
    assert "7 frames, one every 1 step" in words(found)


@pytest.mark.parametrize(
    ("steps", "most", "every"),
    [
        (range(7), 180, 1),
        (range(3751), 180, 21),
        (range(0, 236, 5), 180, 5),
        ([0, 20, 40, 47], 2, 40),
        ([0], 9, 1),
    ],
)
def test_a_long_training_is_thinned(steps: Sequence[int], most: int, every: int) -> None:
    assert thinned(np.array(steps), most) == every


def test_without_encoders_a_still_image_stands_for_the_video(
    make_run: MakeRun, section_page: SectionPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix, known in list(encoding.FORMATS.items()):
        monkeypatch.setitem(encoding.FORMATS, suffix, replace(known, encoder="no-such-encoder"))
    found = section_page(make_run())
    assert not [tag for tag, _ in found.elements if tag in ("video", "source")]
    [still] = [held for _, held in found.elements if (held.get("src") or "").endswith("video.webp")]
    assert still["alt"].endswith("its last frame")
    assert "no encoder for a video" in words(found)


def test_loss_and_accuracy_of_each_training_are_told(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(trials=("a", "b", "c", "d")))
    assert found.rows("Training")[:4] == [
        [name, "0.001", "0", "6", "0.333", "0.0 %", "100.0 %"] for name in "abcd"
    ]
    assert "3 of the trainings follow in detail" in words(found)
    assert len([tag for tag, _ in found.elements if tag == "video"]) == 3
    curve = pd.read_csv(found.path.parent / "run-0/training-curve.csv")
    assert len(curve) == 4 * 7
    assert curve[curve["trial"] == "b"]["training_loss"].isna().sum() == 1


def test_a_gradient_that_grows_alike_to_the_image_is_said_to(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(values=ever_more_alike))
    assert "Training made the loss gradient more similar to its input, by" in words(found)
    rows = found.rows("Measure")[:3]
    table = pd.read_csv(found.path.parent / "run-0/training-0/recapitulation.csv")
    cosine = table[table["measure"] == "cosine"].set_index("step")["mean"]
    assert rows[0][1:3] == [f"{cosine[0]:.3f}", f"{cosine[6]:.3f}"]
    assert rows[0][3] == f"{cosine[6] - cosine[0]:+.3f}"
    assert float(rows[0][4].split()[0]) > 0


def test_a_gradient_that_loses_its_likeness_is_said_to_and_noise_is_not(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    lost = make_run("lost", values=lambda step, index: ever_more_alike(6 - step, index))
    assert "less similar to its input" in words(section_page(lost, "one"))
    same = make_run("same", values=lambda step, index: noise(0, index))
    assert "No measure shows that training changed the similarity" in words(section_page(same, "two"))


def test_maps_are_shown_before_and_after_with_the_sums_over_training(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run())
    headings = [row for row in found.rows() if row[0] == "Image"]
    assert headings == [
        [
            "Image",
            "gradient_x_input, untrained",
            "gradient_x_input, step 6",
            "loss_gradient, untrained",
            "loss_gradient, step 6",
            "sum over training",
            "standard deviation over training",
        ]
    ]
    alts = [held["alt"] for tag, held in found.elements if tag == "img" and "map" in held.get("class", "")]
    assert len(alts) == 6 * len(PANEL)
    assert "1 one ✓right: 87.5 %" in words(found)


def test_a_segment_that_is_missing_is_named_and_the_rest_is_shown(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_run(segments=STATES[1:]))
    assert "the states of steps 0 to 3 are in no committed segment" in words(found)
    assert "gradient_x_input, step 4" in words(found)
    assert len([tag for tag, _ in found.elements if tag == "video"]) == 1
    assert not found.classes("gains")


def test_without_stored_images_the_reasons_are_given(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(stored=False))
    assert "There is no video: image 0 of the panel was not stored" in words(found)
    assert "There is no curve: image 0 of the panel was not stored" in words(found)
    assert len([tag for tag, _ in found.elements if tag == "img"]) == 6 * len(PANEL)


def test_trainings_with_different_methods_are_shown_each_with_its_own(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    make_run(trials=("a",), methods=OWN[:1])
    # Two segments of another training, which are called 1-0 and 1-1.
    both = make_run(trials=("a", "b"), methods=OWN[1:])
    found = section_page(both)
    assert [row[0] for row in found.rows("Training")[:2]] == ["a", "b"]
    assert {"gradient_x_input of the panel along", "loss_gradient of the panel along"} <= {
        " ".join(str(held["aria-label"]).split()[1:6]) for tag, held in found.elements if tag == "video"
    }


@pytest.mark.parametrize("methods", [("gradient_x_input",), SUMMED])
def test_a_run_of_other_methods_is_shown_as_far_as_it_goes(
    make_run: MakeRun, section_page: SectionPage, methods: Sequence[str]
) -> None:
    found = section_page(make_run(methods=methods))
    assert "this run has not" in words(found)
    assert len([tag for tag, _ in found.elements if tag == "video"]) == 1
    assert len(found.classes("tiles")) == 1


def test_a_run_without_rows_says_so(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(segments=(range(0),), methods=("gradient_x_input",)))
    assert "hold no rows, so there is nothing to show" in words(found)


def test_hostile_names_stay_text_and_reach_no_path(make_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_run(trials=["".join(HOSTILE)], names=HOSTILE))
    assert "script" not in [tag for tag, _ in found.elements]
    assert not [held for _, held in found.elements if any(name.startswith("on") for name in held)]
    assert "<script>alert(1)</script>" in found.text
    written = [str(path.relative_to(found.path.parent)) for path in found.path.parent.rglob("*.*")]
    assert [path for path in written if not re.fullmatch(r"[a-z0-9/.-]+", path) or ".." in path] == []


def test_the_report_s_page_holds_the_section_its_video_and_figure(
    make_run: MakeRun, report: Callable[..., Path], page: Callable[[Path], Any]
) -> None:
    folder = report(make_run())
    found = page(folder / "index.html")
    assert "Attribution along training: training" in found.text
    links = [link for link in found.links() if link.startswith("run-0/training-0/")]
    assert {link.rpartition("/")[2] for link in links} >= {"video.mp4", "video.webm", "recapitulation.png"}
    assert all((folder / link).is_file() for link in links)
