"""Run directories of units and of natural images, whose activations the tests choose."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sweeps.schemas import (
    SCHEMA_VERSION,
    activations_images,
    activations_results,
    unit_images,
    unit_results,
)
from sweeps.store import RunDirectory, rows_table

Row = dict[str, Any]
CELL = ("layer", "unit", "recipe", "seed", "member")
LAYERS = ("late", "early")  # as they were asked for
LABELS = ("cat", "dog", "$\\frac{")


@dataclass(frozen=True, kw_only=True)
class UnitsContent:
    """What a run of units holds."""

    layers: tuple[str, ...] = LAYERS
    units: tuple[str, ...] = ("2", "10", "10:center")
    recipes: tuple[str, ...] = ("default",)
    seeds: tuple[int, ...] = (0, 1)
    members: tuple[int, ...] = (0,)
    model: str = "net"
    digest: str = "d1"
    activation: Callable[[str, str, int, int], float] = lambda layer, unit, seed, member: 3.0 + seed
    size: int = 8


@dataclass(frozen=True, kw_only=True)
class NaturalContent:
    """What a run of natural images holds: of each shard its images, whose activation is `activation`.

    `classes` makes it a run of classes.
    """

    shards: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3), (4, 5, 6, 7))
    top: int = 3
    units: tuple[tuple[str, str], ...] = tuple(product(LAYERS, ("2", "10", "10:center")))
    classes: tuple[int, ...] = ()
    model: str = "net"
    digest: str = "d1"
    activation: Callable[[int], float] = lambda index: 1.0 + index % 4
    label: Callable[[int], int] = lambda index: index % 2
    has_places: bool = True
    size: int = 8


def pixels_of(number: int, size: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> Row:
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return {"bytes": encoded.getvalue(), "path": "image.png"}


def common(sweep: str, shard: str, model: str, digest: str) -> Row:
    names = {"sweep": sweep, "model": model, "model_digest": digest, "shard_id": shard}
    return names | {"attempt": 1, "schema_version": SCHEMA_VERSION}


@pytest.fixture
def make_units_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run of units with the given fields of `UnitsContent` and returns where it is."""

    def make(folder: str = "units", **fields: Any) -> Path:
        content, run = UnitsContent(**fields), RunDirectory(tmp_path / folder)
        axes = {"recipe": list(content.recipes), "layer": list(content.layers)}
        axes |= {"seed": list(content.seeds), "unit": list(content.units)}
        record = {
            "sweep": "units",
            "schema_version": SCHEMA_VERSION,
            "blocks": [{"axes": axes, "shard_size": 9}],
        }
        run.update_sweep(lambda existing: record)
        cells = list(product(content.layers, content.units, content.recipes, content.seeds, content.members))
        images = [
            {
                "key": "-".join(map(str, cell)),
                "image": png(pixels_of(number, content.size)),
                "step": 2,
                **dict(zip(CELL, cell, strict=True)),
            }
            for number, cell in enumerate(cells)
        ]
        name = run.put_images("shard", 1, rows_table(images, unit_images()))
        empty = dict.fromkeys(unit_results().names)  # columns that may be null need no mention below
        rows = [empty | unit_row(cell, content) | {"image_file": name} for cell in cells]
        run.commit("shard", rows_table(rows, unit_results()), name)
        return tmp_path / folder

    return make


def unit_row(cell: tuple[str, str, str, int, int], content: UnitsContent) -> Row:
    layer, unit, _, seed, member = cell
    activation = content.activation(layer, unit, seed, member)
    return (
        common("units", "shard", content.model, content.digest)
        | dict(zip(CELL, cell, strict=True))
        | {
            "num_steps": 2,
            "batch_size": 4,
            "activation": activation,
            "top1": 0,
            "total_variation": 1.0,
            "clipped_share": 0.0,
            "activation_by_step": [0.0, activation],
            "loss_by_step": [0.0, -activation],
            "seconds": 0.5,
            "image_key": "-".join(map(str, cell)),
        }
    )


@pytest.fixture
def make_activations_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run of natural images with the given fields of `NaturalContent` and returns where it is."""

    def make(folder: str = "activations", **fields: Any) -> Path:
        content, run = NaturalContent(**fields), RunDirectory(tmp_path / folder)
        run.update_sweep(lambda existing: {"sweep": "activations", "schema_version": SCHEMA_VERSION})
        for number, indices in enumerate(content.shards):
            write_activations_shard(run, f"shard-{number}", indices, content)
        return tmp_path / folder

    return make


def write_activations_shard(
    run: RunDirectory, shard: str, indices: Iterable[int], content: NaturalContent
) -> None:
    strongest = sorted(indices, key=lambda index: -content.activation(index))[: content.top]
    images = [
        {"key": f"{index}-{shard}", "image": png(pixels_of(1000 + index, content.size)), "image_index": index}
        for index in strongest
    ]
    name = run.put_images(shard, 1, rows_table(images, activations_images()))
    measured: list[Row] = [
        {"layer": None, "unit": None, "class_index": index, "class_name": LABELS[index]}
        for index in content.classes
    ] or [
        {"layer": layer, "unit": unit, "class_index": None, "class_name": None}
        for layer, unit in content.units
    ]
    rows = [
        common("activations", shard, content.model, content.digest)
        | each
        | natural_row(index, rank, content)
        | {"image_key": f"{index}-{shard}", "image_file": name}
        for each in measured
        for rank, index in enumerate(strongest, start=1)
    ]
    run.commit(shard, rows_table(rows, activations_results()), name)


def natural_row(index: int, rank: int, content: NaturalContent) -> Row:
    label = content.label(index)
    place = index % content.size if content.has_places else None
    return {
        "dataset": "photos",
        "split": "test",
        "image_index": index,
        "key": f"{index}.png",
        "label": label,
        "label_name": LABELS[label],
        "activation": content.activation(index),
        "row": place,
        "column": place,
        "rank_in_shard": rank,
        "batch_size": 4,
    }
