"""Loss gradients integrated over a training, as maps beside those of methods that look at the last network alone.

`attribute_training.py` stores sums over segments of a training. `attribute_all.py --training RUN` adds them up,
and scores them under the weights that the training ended with.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.attribution import Method
from attrib_core.datasets import Dataset
from sweeps.images.inputs import ImageInputs
from sweeps.store import RunDirectory
from sweeps.store.errors import explained

SUM, SUM_X_INPUT = "training_integrated_gradient", "training_integrated_gradient_x_input"
TRAINING_METHODS = (SUM, SUM_X_INPUT)
ACCEPTED = "a run directory of sweeps/attribute_training.py with the method training_integrated_gradient"
_COLUMNS = ["trial", "model", "dataset", "split", "key", "image_index", "step", "num_states", "gradient_sum"]


@dataclass(frozen=True, kw_only=True)
class TrainingMaps:
    """The loss gradient of each panel image, summed over all N states of one training."""

    trial: str
    model: str
    images: dict[int, int]  # image by index in the data set, to its row of `sums`
    keys: tuple[str, ...]
    source: tuple[str, str]  # data set and split
    sums: NDArray[np.float32]  # [P, C, H, W]
    weights: Path | None  # the file that the training ended with, if it is on a disk

    @classmethod
    def read(cls, text: str) -> Self:
        """Read them from `RUN`, or `RUN#TRIAL` where the run has several trainings.

        Raises ValueError for what is no finished run of that kind.
        """
        url, _, trial = text.partition("#")
        run = RunDirectory(url)
        record = run.read_sweep() or {}
        if record.get("sweep") != "attribute_training":
            raise ValueError(f"training={text!r}: {url} is not one; accepted is {ACCEPTED}")
        with explained(run.url, "read"):
            tables = [table for entry in run.results() if (table := _sums(run, entry.name)) is not None]
        if not tables:
            raise ValueError(f"training={text!r}: it has no sums over training; accepted is {ACCEPTED}")
        rows = pa.concat_tables(tables)
        trials = sorted(set(rows["trial"].to_pylist()))
        if (trial or trials[0]) not in trials or (not trial and len(trials) > 1):
            raise ValueError(f"training={text!r}: accepted is {url}#TRIAL, of {', '.join(trials)}")
        trial = trial or trials[0]
        return cls._of(text, url, rows.filter(pa.compute.equal(rows["trial"], trial)))

    @classmethod
    def _of(cls, text: str, url: str, rows: pa.Table) -> Self:
        """Add up the segments of one training in the order of their steps."""
        rows = rows.sort_by([("image_index", "ascending"), ("step", "ascending")])
        index, step, count = (rows[name].to_numpy() for name in ("image_index", "step", "num_states"))
        first = step - count + 1
        images = np.unique(index)
        is_start = np.r_[True, index[1:] != index[:-1]]
        follows = np.where(is_start, first == 0, first == np.r_[0, step[:-1] + 1])
        trial, model = rows["trial"][0].as_py(), rows["model"][0].as_py()
        weights = _last_weights(url, trial)
        ends = step[np.r_[is_start[1:], True]]
        last = int(ends[0]) if weights is None else _step_of(weights)
        if not follows.all() or set(ends.tolist()) != {last}:
            raise ValueError(
                f"training={text!r}: some states of {trial} are missing; accepted is a finished run: give the "
                "command that made it again"
            )
        shape = _shape(rows.schema)
        values = np.stack(rows["gradient_sum"].to_numpy())
        sums = np.zeros((len(images), values.shape[1]))
        for place, value in zip(np.searchsorted(images, index), values, strict=True):
            sums[place] += value
        keys = np.array(rows["key"].to_pylist(), dtype=object)[is_start]
        return cls(
            trial=trial,
            model=model,
            images={int(image): place for place, image in enumerate(images)},
            keys=tuple(keys),
            source=(rows["dataset"][0].as_py(), rows["split"][0].as_py()),
            sums=sums.reshape(-1, *shape).astype(np.float32),
            weights=weights,
        )

    def weights_or(self, weights: str | None) -> str:
        """Return the weights that the user names, else those that the training ended with."""
        if weights is None and self.weights is None:
            raise ValueError(
                "weights: the training is in an object store; accepted is a copy of its last checkpoint"
            )
        return weights or str(self.weights)

    def check(self, model: str, dataset: Dataset, images: tuple[int, ...]) -> None:
        """Raise ValueError for another network, other data, and images that the training did not follow."""
        if model != self.model:
            raise ValueError(f"model={model!r}: the training is of {self.model}; accepted is that one")
        if (dataset.name, dataset.split) != self.source or any(
            index >= len(dataset) or dataset.keys[index] != key
            for index, key in zip(self.images, self.keys, strict=True)
        ):
            raise ValueError(
                f"dataset={dataset.name!r}: the training followed images of {'/'.join(self.source)}; accepted are "
                "those"
            )
        if other := sorted(set(images) - self.images.keys()):
            followed = ", ".join(map(str, list(self.images)[:8]))
            raise ValueError(
                f"images: {other[0]} is not among the {len(self.images)} images that the training followed, "
                f"{followed}, ...; accepted are those, and `all` for all of them"
            )

    def methods(self, indices: tuple[int, ...], images: Tensor) -> dict[str, Method]:
        """Return both methods for a batch of images `[B, C, H, W]`."""
        rows = [self.images[index] for index in indices]
        sums = torch.from_numpy(self.sums[rows]).to(images)
        return {
            SUM: Method.of_maps(sums, explains_loss=True, of_inputs=False),
            SUM_X_INPUT: Method.of_maps(sums * images, explains_loss=True, of_inputs=True),
        }


@dataclass(frozen=True, kw_only=True)
class AttributeInputs(ImageInputs):
    """What actors of an attribution sweep share: the inputs, and maps of a training if there are any."""

    training: TrainingMaps | None

    @classmethod
    def of(cls, inputs: ImageInputs, training: TrainingMaps | None) -> Self:
        """Return the inputs with maps."""
        own = {each.name: getattr(inputs, each.name) for each in fields(inputs)}
        return cls(**own, training=training)

    @property
    def definitions(self) -> dict[str, str]:
        """Return which training the maps are of, for sweep.json."""
        if self.training is None:
            return {}
        digest = hashlib.sha256(self.training.sums.tobytes()).hexdigest()[:16]
        return {"training": f"{self.training.trial}, sums {digest}"}


def _sums(run: RunDirectory, name: str) -> pa.Table | None:
    """Return the rows of sums in one results file, None if it has none."""
    parquet = pq.ParquetFile(pa.BufferReader(run.files.read(f"{run.rows}/{name}")))
    schema = parquet.schema_arrow
    methods = parquet.read(columns=["method"])["method"]
    is_sum = pa.compute.equal(methods, SUM)
    if not pa.compute.any(is_sum).as_py():
        return None
    table = parquet.read(columns=_COLUMNS).filter(is_sum)
    return table.replace_schema_metadata({"shape": schema.field("attribution").metadata[b"shape"]})


def _shape(schema: pa.Schema) -> tuple[int, ...]:
    return tuple(int(side) for side in schema.metadata[b"shape"].split(b","))


def _last_weights(url: str, trial: str) -> Path | None:
    """Return the file of the last state of a tape on a disk."""
    files = sorted(Path(url).glob(f"tapes/{trial}/checkpoints/*.safetensors"))
    return files[-1] if files else None


def _step_of(weights: Path) -> int:
    return int(weights.stem.rpartition("-")[2])
