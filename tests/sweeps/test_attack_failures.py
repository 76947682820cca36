"""An image whose gradient is no number: the others of its shard have rows, and it is named as a failure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attrib_core.classifiers import Classifier, build_classifier
from sweeps import attack_all
from sweeps.attack.job import AttackJob
from sweeps.cli import parse_options
from sweeps.images import actor
from sweeps.plan import Shard
from sweeps.store import RunDirectory

NUM_IMAGES = 6
BLACK_CORNER = {1, 4}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images, of which two have a black pixel in the first corner, in folders named as class indices."""
    for index in range(NUM_IMAGES):
        pixels = np.random.default_rng(index).integers(60, 256, (28, 28), dtype=np.uint8)
        pixels[0, 0] = 0 if index in BLACK_CORNER else 60
        folder = tmp_path / "photos" / str(index)
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "image.png")
    return tmp_path / "photos"


@pytest.fixture
def job(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AttackJob]:
    """The sweep's job on a network whose gradient is NaN at images with the black pixel."""

    def with_a_root(*arguments: object) -> Classifier:
        classifier = build_classifier(*arguments)
        logits = classifier.forward
        classifier.forward = lambda images: logits(images) + 0 * images[:, 0, 0, 0].sqrt()[:, None]
        return classifier

    def make(*more: str) -> AttackJob:
        given = ["--dataset", f"imagefolder:{photos}", "--output", str(tmp_path / "run"), *more]
        sweep = attack_all.attack_sweep(parse_options(attack_all.AttackOptions, given))
        monkeypatch.setattr(actor, "build_classifier", with_a_root)
        return sweep.factory(sweep.shared)

    return make


def shard_of(method: str, images: range = range(NUM_IMAGES)) -> Shard:
    axes = {"method": method, "checkpoint": "trained", "target": "untargeted", "epsilon": (0.0, 0.1)}
    return Shard("shard", axes, tuple((index,) for index in images))


@pytest.mark.parametrize("method", ["fgsm", "max_norm", "bim", "minimum_fgsm"])
def test_the_others_have_rows_and_the_image_is_named(method, job, tmp_path) -> None:
    made = job()
    summary = made.commit(made.compute(shard_of(method)), 1)
    rows = pq.read_table(tmp_path / "run" / "results" / "shard.parquet")
    assert set(rows["image_index"].to_pylist()) == set(range(NUM_IMAGES)) - BLACK_CORNER
    failures = RunDirectory(tmp_path / "run").failed_images()["shard"]
    assert failures == summary["failed_images"]
    assert {failure.image_index for failure in failures} == BLACK_CORNER
    assert {failure.reason for failure in failures} == {"its gradient holds NaN or infinite values"}
    assert all(failure.readable for failure in failures)
    assert rows["gradient_fallback"].to_pylist() == [False] * len(rows)


def test_an_attack_without_a_gradient_has_rows_of_all(job, tmp_path) -> None:
    made = job()
    summary = made.commit(made.compute(shard_of("random_sign")), 1)
    assert summary["failed_images"] == ()
    rows = pq.read_table(tmp_path / "run" / "results" / "shard.parquet")
    assert set(rows["image_index"].to_pylist()) == set(range(NUM_IMAGES))


def test_a_shard_of_failures_alone_is_committed_without_rows(job, tmp_path) -> None:
    made = job()
    made.commit(made.compute(shard_of("fgsm", range(1, 2))), 1)
    assert len(pq.read_table(tmp_path / "run" / "results" / "shard.parquet")) == 0


def test_an_image_that_is_stored_may_be_one_that_fails(job, tmp_path) -> None:
    made = job("--save-images", "all")
    made.commit(made.compute(shard_of("fgsm")), 1)
    (file,) = (tmp_path / "run" / "images").iterdir()
    assert set(pq.read_table(file)["image_index"].to_pylist()) == set(range(NUM_IMAGES)) - BLACK_CORNER
