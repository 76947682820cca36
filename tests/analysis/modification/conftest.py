"""Run directories of modified images, whose norms and predictions the tests choose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sweeps.schemas import SCHEMA_VERSION, modify_images, modify_results
from sweeps.store import RunDirectory, rows_table

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModifyContent:
    """What a run of modified images holds; image i has the label i mod 4. `l2` is the norm at the first hit.

    `draw` gives the pixels `[8, 8, 1]` of an image, clean for the target None.
    """

    images: Sequence[int] = range(4)
    targets: Sequence[int] = range(4)
    stored: bool = True
    name: Callable[[int], str] = field(default=lambda index: f"class {index}")
    draw: Callable[[int, int | None], NDArray[np.uint8]] = field(
        default=lambda index, target: image_pixels(100 * index + (target or 0))
    )
    first_hit_step: int = 1
    l2: Callable[[int, int], float | None] = field(
        default=lambda index, target: 0.1 if index % 4 == target else 2.0
    )
    prediction: Callable[[int, int], int] = field(default=lambda index, target: target)


@pytest.fixture
def pixels() -> Callable[[int], NDArray[np.uint8]]:
    """The image `[H, W, C]` of a number in all runs of these fixtures."""
    return image_pixels


def image_pixels(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 1), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> Row:
    encoded = BytesIO()
    Image.fromarray(pixels[..., 0]).save(encoded, "PNG")
    return {"bytes": encoded.getvalue(), "path": "image.png"}


@pytest.fixture
def make_modify_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run with the given fields of `ModifyContent` to a folder and returns where it is."""

    def make(folder: str = "modify", **fields: Any) -> Path:
        content, run = ModifyContent(**fields), RunDirectory(tmp_path / folder)
        invocations = [{"class_names": [content.name(index) for index in range(4)]}]
        run.update_sweep(lambda existing: {"sweep": "modify", "invocations": invocations})
        images = [
            {
                "key": f"{index}-{target}",
                "image": png(content.draw(index, target)),
                "image_index": index,
                "target": target,
                "kind": "clean" if target is None else "modified",
            }
            for index in content.images
            for target in (None, *content.targets)
        ]
        name = run.put_images("shard", 1, rows_table(images, modify_images())) if content.stored else None
        rows = [
            modify_row(index, target, content) | {"image_file": name, "clean_file": name}
            for index in content.images
            for target in content.targets
        ]
        run.commit("shard", rows_table(rows, modify_results()), name)
        return tmp_path / folder

    return make


def modify_row(index: int, target: int, content: ModifyContent) -> Row:
    prediction, norm = content.prediction(index, target), content.l2(index, target)
    return {
        "sweep": "modify",
        "model": "fashion_deep",
        "model_digest": "d1",
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "dataset": "fashion_mnist",
        "split": "test",
        "image_index": index,
        "key": f"test/{index}",
        "label": index % 4,
        "label_name": content.name(index % 4),
        "prediction": prediction,
        "confidence": 0.875,
        "shard_id": "shard",
        "image_key": f"{index}-{target}" if content.stored else None,
        "clean_key": f"{index}-None" if content.stored else None,
        "target": target,
        "target_name": content.name(target),
        "num_steps": 3,
        "step_size": 0.01,
        "initial_prediction": index % 4,
        "initial_confidence": 0.9,
        "target_logit": 3.0,
        "target_probability": 0.5,
        "first_hit_step": None if norm is None else content.first_hit_step,
        "linf": 0.03,
        "l2": 3.0,
        "l1": 1.0,
        "hit_linf": norm,
        "hit_l2": norm,
        "hit_l1": norm,
        "logit_by_step": [1.0, 2.0, 3.0],
        "argmax_by_step": [0, 0, prediction],
        "batch_size": 4,
    }
