"""What sweeps wrote, opened by other programs without any code of ours."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.load import encoded_images, images, results

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.long

KINDS = ("attack", "generate", "attribute", "modify", "attribute_training")


@pytest.fixture
def hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No hub, and a cache that goes with the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging_face"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def rows_of(run: str, name: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in Path("runs", run, name).glob("*.parquet"))


@pytest.mark.parametrize("kind", KINDS)
def test_pandas_polars_and_duckdb_read_the_same_rows(in_real_runs: Path, kind: str) -> None:
    frame = pd.read_parquet(f"runs/{kind}/results")
    scanned = pl.scan_parquet(f"runs/{kind}/results/*.parquet").collect()
    asked = duckdb.sql(f"SELECT * FROM 'runs/{kind}/results/*.parquet'").pl()
    assert len(frame) == len(scanned) == len(asked) == rows_of(kind, "results") > 5
    assert list(frame.columns) == scanned.columns == asked.columns
    numbers = [
        name
        for name, kind_of in scanned.schema.items()
        if kind_of.is_numeric() and scanned[name].null_count() == 0
    ]
    assert len(numbers) >= 4
    for name in numbers:
        total = float(frame[name].astype("float64").sum())
        assert scanned[name].cast(pl.Float64).sum() == pytest.approx(total, rel=1e-6)
        assert asked[name].cast(pl.Float64).sum() == pytest.approx(total, rel=1e-6)


def test_lists_and_structs_arrive_as_such(in_real_runs: Path) -> None:
    ours = results("runs/generate").sort_values("image_key")
    theirs = pl.scan_parquet("runs/generate/results/*.parquet").sort("image_key").collect()
    logits = theirs["logit_by_step"].to_list()
    assert [list(map(float, values)) for values in ours["logit_by_step"]] == logits
    judged = theirs["judge_top1"].struct.field("efficientnet_lite1").to_list()
    assert ours["judge_top1.efficientnet_lite1"].to_list() == judged


def test_attributions_have_the_same_values_everywhere(in_real_runs: Path) -> None:
    (path,) = Path("runs/attribute/results").glob("predicted*.parquet")
    expected = np.stack(pd.read_parquet(path)["attribution"].to_list()).astype(np.float32)
    assert expected.shape[1] == 28 * 28
    polars = np.asarray(pl.read_parquet(path)["attribution"].to_list(), np.float32)
    asked = duckdb.sql(f"SELECT attribution FROM '{path}'").df()["attribution"]
    assert np.array_equal(polars, expected)
    assert np.array_equal(np.stack(asked.to_list()).astype(np.float32), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_hugging_face_datasets_decode_the_images(in_real_runs: Path, hugging_face: None, kind: str) -> None:
    from datasets import load_dataset

    found = load_dataset("parquet", data_files=f"runs/{kind}/images/*.parquet", split="train")
    assert len(found) == rows_of(kind, "images") > 0
    for row in found:
        assert isinstance(row["image"], Image.Image)
    # Pixel by pixel what the analysis reads.
    rows = results(f"runs/{kind}")
    key = rows["image_key"].dropna().iloc[0]
    (row,) = [row for row in found if row["key"] == key]
    (expected,) = images(f"runs/{kind}", [key])
    assert np.array_equal(np.asarray(row["image"]).reshape(expected.shape), expected)


def test_hugging_face_datasets_know_the_columns_beside_the_image(
    in_real_runs: Path, hugging_face: None
) -> None:
    from datasets import load_dataset

    found = load_dataset("parquet", data_files="runs/generate/images/*.parquet", split="train")
    frames = found.filter(
        lambda row: row["class_index"] == 963 and row["recipe"] == "blur" and row["seed"] == 1
    )
    assert sorted(frames["step"]) == [0, 2, 4]
    assert len(frames[0]["logits"]) == 1000


def test_polars_and_duckdb_hand_out_the_png_files(in_real_runs: Path) -> None:
    rows = results("runs/attack")
    key = rows["image_key"].dropna().iloc[0]
    (expected,) = encoded_images("runs/attack", [key])
    found = pl.scan_parquet("runs/attack/images/*.parquet").filter(pl.col("key") == key).collect()
    assert found["image"].struct.field("bytes").to_list() == [expected]
    query = "SELECT image.bytes FROM 'runs/attack/images/*.parquet' WHERE key = ?"
    assert duckdb.execute(query, [key]).fetchall() == [(expected,)]


@pytest.fixture
def exported(in_real_runs: Path) -> Path:
    """The generated images as WebDataset, by the command."""
    command = [sys.executable, "-m", "sweeps.store", "export-webdataset", "runs/generate", "exported"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return in_real_runs / "exported"


def test_an_export_is_tar_files_of_images_and_their_rows(exported: Path) -> None:
    rows = results("runs/generate").set_index("image_key")
    (path,) = exported.glob("*.tar")
    with tarfile.open(path) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert {name.partition(".")[0] for name in contents} == set(rows.index)
    for key, row in rows.iterrows():
        assert json.loads(contents[f"{key}.json"])["class_index"] == row["class_index"]
        assert contents[f"{key}.png"] == encoded_images("runs/generate", [str(key)])[0]
        assert Image.open(io.BytesIO(contents[f"{key}.png"])).size == (64, 64)


RAY_DATA = """
import json, ray
ray.init("local", num_cpus=2, include_dashboard=False)
rows = ray.data.read_parquet("runs/attack/results").to_pandas()
stored = ray.data.read_parquet("runs/attack/images").take_all()
samples = ray.data.read_webdataset("exported").take_all()
print("ANSWER" + json.dumps({
    "rows": len(rows), "loss": float(rows["loss"].astype("float64").sum()),
    "keys": sorted(row["key"] for row in stored),
    "starts": sorted({row["image"]["bytes"][:4].hex() for row in stored}),
    "samples": {row["__key__"]: [list(row["png"].shape), row["json"]["class_index"]] for row in samples},
}))
"""


def test_ray_data_reads_rows_images_and_the_export(exported: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RAY_DATA], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.rpartition("ANSWER")[2])
    frame, stored = (
        pd.read_parquet("runs/attack/results"),
        pd.read_parquet("runs/attack/images", columns=["key"]),
    )
    assert answer["rows"] == len(frame)
    assert answer["loss"] == pytest.approx(float(frame["loss"].astype("float64").sum()))
    assert answer["keys"] == sorted(stored["key"])
    assert answer["starts"] == [b"\x89PNG".hex()]
    rows = results("runs/generate").set_index("image_key")
    assert answer["samples"] == {key: [[64, 64, 3], row["class_index"]] for key, row in rows.iterrows()}
