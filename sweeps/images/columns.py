"""Columns of every sweep over the images of a data set: which image a row is of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attrib_core.classifiers import Checkpoint
from attrib_core.datasets import Dataset
from sweeps.columns import Columns, common_columns
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard


def shard_columns(
    sweep: str, shard: Shard, attempt: int, inputs: ImageInputs, checkpoint: Checkpoint
) -> Columns:
    """Return what all rows of a shard have in common."""
    common = common_columns(sweep, shard, attempt, model=checkpoint.name, digest=checkpoint.digest)
    return common | dataset_columns(inputs.dataset)


def dataset_columns(dataset: Dataset) -> Columns:
    """Return where the images are from."""
    return {"dataset": dataset.name, "split": dataset.split}


def image_columns(inputs: ImageInputs, indices: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return index, key and label `[B]` of images, with the classes as the classifier counts them."""
    return identity_columns(inputs.dataset, indices, inputs.labels, inputs.class_names)


def identity_columns(
    dataset: Dataset, indices: Sequence[int], labels: NDArray[np.int64], class_names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return index, key and label `[B]` of images of a data set; `labels` `[N]` are of all of its images."""
    chosen = labels[list(indices)]
    return {
        "image_index": np.array(indices),
        "key": np.array([dataset.keys[index] for index in indices], dtype=object),
        "label": chosen,
        "label_name": np.array(class_names, dtype=object)[chosen],
    }
