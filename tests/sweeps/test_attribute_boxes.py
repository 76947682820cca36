"""The pointing game from a Parquet file with boxes to the rows of a sweep."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attrib_core.datasets import View, load_dataset
from sweeps.attribute_all import main
from sweeps.store import RunDirectory

NUM_IMAGES = 6
CLASSES = 10


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def boxed(tmp_path: Path) -> Path:
    """Test images of Fashion-MNIST, at twice their size, with a whole box, a row of pixels, or none."""
    fashion = load_dataset("fashion_mnist")
    images = fashion.images(range(NUM_IMAGES), View(image_size=28, channels=1))[:, 0]
    boxes = [[[0, 0, 56, 56]], [[0, 0, 56, 2]], None] * (NUM_IMAGES // 3)
    columns = {
        "image": pa.array([png(each.repeat(2, 0).repeat(2, 1)) for each in images], pa.binary()),
        "label": pa.array([fashion.class_names[label] for label in fashion.labels[:NUM_IMAGES]]),
        "boxes": pa.array(boxes, pa.list_(pa.list_(pa.int64()))),
    }
    pq.write_table(pa.table(columns), tmp_path / "boxed.parquet")
    return tmp_path / "boxed.parquet"


def options_of(data: Path, output: Path) -> list[str]:
    settings = {
        "--dataset": f"parquet:{data}",
        "--methods": "gradient_x_input",
        "--scores": "pointing_game,road:percentiles=20+80",
        "--output": str(output),
        "--num-workers": "1",
    }
    return [word for pair in settings.items() for word in pair]


def test_hits_are_rows_of_a_sweep(boxed: Path, tmp_path: Path, in_this_process: None) -> None:
    arguments = options_of(boxed, tmp_path / "run")
    assert main([*arguments, "--boxes-column", "boxes"]) == 0
    run = RunDirectory(str(tmp_path / "run"))
    rows = pq.read_table(tmp_path / "run" / "results").to_pandas().sort_values("image_index")
    assert rows.pointing_hit.isna().tolist() == [False, False, True] * 2
    assert rows.pointing_hit.dropna().tolist() == [1, 0, 1, 0]
    assert np.allclose(rows.road, (rows.road_lerf - rows.road_morf) / 2, atol=1e-6)
    definitions = run.read_sweep()["definitions"]
    assert "boxes" in definitions
    assert definitions["score road:percentiles=20+80"] == "percentiles 20+80, noise 0.01"


def test_a_data_set_without_boxes_is_refused(
    boxed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], in_this_process: None
) -> None:
    assert main(options_of(boxed, tmp_path / "run")) == 2
    assert "pointing_game': it needs boxes" in capsys.readouterr().err
    assert not (tmp_path / "run" / "results").exists()


def test_a_box_outside_its_image_is_refused(
    boxed: Path, tmp_path: Path, refusal_of: Callable[..., Callable[..., str]], capsys, in_this_process: None
) -> None:
    table = pq.read_table(boxed)
    boxes = pa.array([[[0, 0, 58, 56]]] * NUM_IMAGES, pa.list_(pa.list_(pa.int64())))
    pq.write_table(table.set_column(2, "boxes", boxes), boxed)
    assert main([*options_of(boxed, tmp_path / "run"), "--boxes-column", "boxes"]) == 2
    assert "boxed.parquet: row 0: boxes: a box from (0, 0) to (58, 56)" in capsys.readouterr().err
