"""Thumbnails and full images of generated classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis import load
from analysis.generation import class_pictures
from analysis.generation.class_pictures import tiling_of

MakeRun = Callable[..., Path]
Report = Callable[..., Path]


@pytest.mark.parametrize(
    ("num_seeds", "columns", "rows", "width"),
    [(1, 1, 1, 320), (2, 2, 1, 320), (4, 2, 2, 320), (50, 8, 7, 576)],
)
def test_seeds_are_tiled_nearly_square(num_seeds: int, columns: int, rows: int, width: int) -> None:
    tiling = tiling_of(num_seeds)
    assert (tiling.num_columns, tiling.num_rows, tiling.width) == (columns, rows, width)


def test_each_seed_has_its_own_tile_and_what_is_missing_is_transparent(
    make_run: MakeRun, report: Report
) -> None:
    run = make_run(num_classes=1, seeds=(0, 5, 7), recipes=("default",), size=32)
    with Image.open(report(run) / "run-0" / "thumbnails" / "0000-0.webp") as opened:
        tiles = np.asarray(opened.convert("RGBA")).astype(float)
    for place, seed in enumerate((0, 5, 7)):
        (image,) = load.images(run, [f"default/0/{seed}"])
        top, left = place // 2 * 160, place % 2 * 160
        tile = tiles[top : top + 160, left : left + 160, :3].mean((0, 1))
        assert np.abs(tile - image.mean((0, 1))).max() < 4
    assert tiles[160:, 160:, 3].max() == 0


def test_a_run_with_very_many_images_gets_smaller_files(
    make_run: MakeRun, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_pictures, "MOST_PNG_BYTES", 0)
    run = make_run(num_classes=1, seeds=(0,), recipes=("default",))
    folder = report(run) / "run-0" / "images"
    assert [path.name for path in folder.iterdir()] == ["0000-0-0.webp"]
    with Image.open(folder / "0000-0-0.webp") as opened:
        assert opened.size == (32, 32)


def test_a_damaged_image_is_named(make_run: MakeRun, report: Report) -> None:
    run = make_run(num_classes=1, seeds=(0,), recipes=("default",))
    image = next((run / "images").iterdir())
    image.write_bytes(image.read_bytes().replace(b"IHDR", b"XXXX"))
    with pytest.raises(ValueError, match=r"image 'default/0/0' cannot be decoded|cannot be read"):
        report(run)
