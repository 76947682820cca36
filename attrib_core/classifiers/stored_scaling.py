"""A normaliser's mean and std in a checkpoint: the network that was trained had them before its first layer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers.pickled_objects import LeftOut

MEAN = re.compile(r"_?([a-z]+_)*(mean|mu)s?")
STD = re.compile(r"(?!.*(inv|rsqrt))_?([a-z]+_)*(std|sigma)s?")
BATCH_NORM = "running_mean"
ACCEPTED = "accepted are mean and std for pixels in [0, 1], one number a channel"


@dataclass(frozen=True, kw_only=True)
class StoredScaling:
    """Mean and std for pixels in [0, 1], one number for all channels or one a channel; where they stand."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    paths: tuple[str, str]

    def as_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the numbers under names of their own, as a part of what the weights' digest is of."""
        return {"scaling mean": np.array(self.mean), "scaling std": np.array(self.std)}

    def for_channels(self, channels: int) -> "StoredScaling":
        """Return the scaling with one number a channel; ValueError if it is for another count of them."""
        if {len(self.mean), len(self.std)} - {1, channels}:
            raise ValueError(
                f"{self.paths[0]} has {len(self.mean)} numbers, {self.paths[1]} {len(self.std)}; "
                f"accepted is one for each of {channels} channels"
            )
        mean, std = (values * channels if len(values) == 1 else values for values in (self.mean, self.std))
        return StoredScaling(mean=mean, std=std, paths=self.paths)


def is_scaling(path: str, value: Any) -> bool:
    """Return True for what a normaliser stores: numbers called mean or std, such as `normalize.mean`."""
    name = path.rpartition(".")[2].lower()
    is_list = value.ndim > 0 if isinstance(value, Tensor) else isinstance(value, list | tuple | LeftOut)
    return name != BATCH_NORM and is_list and bool(MEAN.fullmatch(name) or STD.fullmatch(name))


def read_scaling(found: Mapping[str, Any]) -> StoredScaling | None:
    """Return the scaling in the values that `is_scaling`, by path; None if there are none.

    Raises ValueError where they do not say one mean and one std for pixels in [0, 1].
    """
    if not found:
        return None
    means, stds = ([path for path in found if _is(kind, path)] for kind in (MEAN, STD))
    values = {path: _numbers(path, found[path]) for path in found}
    if (
        not means
        or not stds
        or len({values[path] for path in means}) > 1
        or len({values[path] for path in stds}) > 1
    ):
        raise ValueError(f"{', '.join(found)}: it is unclear how they scale the images; {ACCEPTED}")
    mean, std = values[means[0]], values[stds[0]]
    if not (0 <= min(mean) <= max(mean) <= 1 and 0 < min(std) <= max(std) <= 1):
        raise ValueError(
            f"{means[0]} {numbers_text(mean)} and {stds[0]} {numbers_text(std)}: not for pixels in [0, 1]; "
            f"{ACCEPTED}"
        )
    return StoredScaling(mean=mean, std=std, paths=(means[0], stds[0]))


def _is(kind: re.Pattern[str], path: str) -> bool:
    return bool(kind.fullmatch(path.rpartition(".")[2].lower()))


def _numbers(path: str, value: Any) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in (value.flatten() if isinstance(value, Tensor) else value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its numbers cannot be read; {ACCEPTED}") from error


def numbers_text(values: Sequence[float]) -> str:
    """Return numbers as `--mean` takes them."""
    return ",".join(f"{value:.4g}" for value in values)
