"""Run directories as a generation sweep leaves them, with drawn shapes for images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from sweeps.schemas import SCHEMA_VERSION, generate_images, generate_results
from sweeps.store import RunDirectory, rows_table

NUM_CLASSES = 4
NUM_STEPS = 3

Cell = tuple[str, int, int]


def default_name(class_index: int) -> str:
    return f"class {class_index}"


@dataclass(frozen=True, kw_only=True)
class RunContent:
    """What a run holds; a judge names the class itself unless `wrong(judge, class, seed)`."""

    num_classes: int = 3
    seeds: Sequence[int] = (0, 1)
    recipes: Sequence[str] = ("plain", "default")
    judges: Sequence[str] = ("lite1", "lite2")
    channels: int = 3
    size: int = 32
    shard_size: int = 4
    schema_version: int = SCHEMA_VERSION
    name: Callable[[int], str] = default_name
    wrong: Callable[[str, int, int], bool] = field(default=lambda judge, class_index, seed: False)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path | str]:
    """Writes a run with the given fields of `RunContent` to a folder or a URL and returns where it is."""

    def make(folder: str = "run", **fields: Any) -> Path | str:
        place = folder if "://" in folder else tmp_path / folder
        write_run(RunDirectory(place), RunContent(**fields))
        return place

    return make


def write_run(run: RunDirectory, content: RunContent) -> None:
    run.update_sweep(lambda existing: {"sweep": "generate", "seed": 0})
    cells = list(product(content.recipes, range(content.num_classes), content.seeds))
    for start in range(0, len(cells), content.shard_size):
        write_shard(run, f"shard-{start:06d}", cells[start : start + content.shard_size], content)


def write_shard(run: RunDirectory, shard_id: str, cells: Sequence[Cell], content: RunContent) -> None:
    images = [image_row(*cell, content) for cell in cells]
    image_file = run.put_images(shard_id, 1, rows_table(images, generate_images(NUM_CLASSES)))
    schema = generate_results(content.judges)
    rows = [result_row(shard_id, image_file, *cell, content) for cell in cells]
    # Without judges there are no columns of theirs.
    table = rows_table([{name: row[name] for name in schema.names} for row in rows], schema)
    run.commit(shard_id, table, image_file)


def image_row(recipe: str, class_index: int, seed: int, content: RunContent) -> dict[str, Any]:
    encoded = BytesIO()
    image = draw(recipe, class_index, seed, content)
    image.save(encoded, "PNG")
    return {
        "key": f"{recipe}/{class_index}/{seed}",
        "image": {"bytes": encoded.getvalue(), "path": f"{class_index}.png"},
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "step": NUM_STEPS,
        "logits": [0.0] * NUM_CLASSES,
    }


def draw(recipe: str, class_index: int, seed: int, content: RunContent) -> Image.Image:
    """A dim polygon with as many corners as the class, turned by the seed, coloured by the recipe."""
    fill = [90 + 30 * (len(recipe) % 3), 110, 60 + 20 * (seed % 4)]
    image = Image.new("RGB", (content.size, content.size), (70, 75, 80))
    circle = (content.size / 2, content.size / 2, content.size / 3)
    ImageDraw.Draw(image).regular_polygon(circle, 3 + class_index % 7, rotation=20 * seed, fill=tuple(fill))
    return image.convert("L") if content.channels == 1 else image


def result_row(
    shard_id: str, image_file: str, recipe: str, class_index: int, seed: int, content: RunContent
) -> dict[str, Any]:
    wrong = {judge: content.wrong(judge, class_index, seed) for judge in content.judges}
    return {
        "sweep": "generate",
        "model": "lite0",
        "model_digest": "d1",
        "shard_id": shard_id,
        "attempt": 1,
        "schema_version": content.schema_version,
        "image_file": image_file,
        "image_key": f"{recipe}/{class_index}/{seed}",
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "wnid": f"n{class_index:08d}",
        "class_name": content.name(class_index),
        "num_steps": NUM_STEPS,
        "batch_size": 2,
        "logit": 9.5,
        "probability": 0.9,
        "top1": class_index,
        "top5_hit": True,
        "judge_top1": {judge: class_index + missed for judge, missed in wrong.items()},
        "judge_top5_hit": {judge: not missed for judge, missed in wrong.items()},
        "total_variation": 0.1,
        "clipped_share": 0.0,
        "logit_by_step": [1.0, 2.0, 3.0],
        "loss_by_step": [3.0, 2.0, 1.0],
        "argmax_by_step": [class_index] * NUM_STEPS,
        "seconds": 0.5,
    }
