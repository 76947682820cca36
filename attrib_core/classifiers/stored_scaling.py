"""A normaliser's mean and std in a checkpoint: the network that was trained had them before its first layer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers.pickled_objects import LeftOut, StoredArray, StoredNumber

# The words of a name such as `rgb_mean` or `pixelMeanValues`, and what the others may be.
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
MEAN, STD = {"mean", "means", "mu"}, {"std", "stds", "stdev", "sigma"}
NUMBER = {"mean", "std"}  # what a single number is called: a `sigma` or `mu` alone is of something else
IMAGES = {
    *("rgb", "image", "images", "img", "pixel", "pixels", "channel", "channels", "input", "inputs"),
    *("data", "dataset", "train", "value", "values", "vec", "vector", "list", "new", "per"),
    *(
        "norm",
        "normalize",
        "normalise",
        "normalizer",
        "normalization",
        "imagenet",
        "cifar",
        "mnist",
        "10",
        "100",
    ),
}
# Of which trainings keep a mean and a std too. The running ones are a batch norm's.
OTHERS = {
    *(
        "loss",
        "losses",
        "acc",
        "accuracy",
        "metric",
        "metrics",
        "score",
        "scores",
        "error",
        "f1",
        "auc",
        "iou",
    ),
    *("history", "log", "logs", "logger", "curve", "result", "results", "epoch", "epochs", "time", "seconds"),
    *("lr", "grad", "gradient", "weight", "weights", "reward", "label", "labels", "target", "targets"),
    *(
        "cv",
        "fold",
        "folds",
        "running",
        "latent",
        "noise",
        "inv",
        "rsqrt",
        "init",
        "initializer",
        "initialization",
    ),
}
NORMALIZER = re.compile(r"(.*_)?(normali[sz](e|er|ation)|stats)(_.*)?|img_norm_cfg")
NAMED = re.compile(
    r".*(imagenet|cifar|mnist|inception|clip).*", re.IGNORECASE
)  # whose mean and std are meant
LEAST_STD = 0.05  # of a single number; a mean accuracy of 0.9 and its std of 0.01 are stored alike
NUM_NAMED = 4  # paths that a message names
ACCEPTED = (
    "accepted are mean and std for pixels in [0, 1], one number a channel: give them as --mean and --std "
    "(Description(mean=..., std=...) in Python)"
)


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
    """Return True for what a normaliser stores: numbers called mean or std, such as `normalize.mean`.

    A single number may be of anything that has a mean, so its whole name has to say that it is the images'.
    """
    parts = [_words(part) for part in path.split(".")]
    if any(words & OTHERS for words in parts):
        return False
    *_, name = parts
    if not name & (MEAN | STD):
        is_named = isinstance(value, str) and bool(NAMED.fullmatch(value))
        return bool(NORMALIZER.fullmatch(path.rpartition(".")[2].lower())) and (_is_pair(value) or is_named)
    return _is_list(value) or (_is_number(value) and name <= NUMBER | IMAGES)


def read_scaling(found: Mapping[str, Any]) -> StoredScaling | None:
    """Return the scaling in the values that `is_scaling`, by path; None if there are none.

    Raises ValueError where they do not say one mean and one std for pixels in [0, 1].
    """
    found = {
        path: value for path, value in found.items() if not _is_number(value) or _is_one_of_two(path, found)
    }
    if not found:
        return None
    means, stds = ([path for path in found if _is(kind, path)] for kind in (MEAN, STD))
    values = {path: _numbers(path, found[path]) for path in found}
    if (
        not means
        or not stds
        or not all(_words(path.rpartition(".")[2]) <= MEAN | STD | IMAGES for path in found)
        or len(means) + len(stds) < len(found)
        or len({_shortest(values[path]) for path in means}) > 1
        or len({_shortest(values[path]) for path in stds}) > 1
    ):
        raise ValueError(
            f"{', '.join(list(found)[:NUM_NAMED])}: it is unclear how they scale the images; {ACCEPTED}"
        )
    mean, std = values[means[0]], values[stds[0]]
    are_numbers = any(_is_number(found[path]) for path in (means[0], stds[0]))
    if are_numbers and mean == (0,) and std != (1,):
        raise ValueError(f"{means[0]}, {stds[0]}: they may be of noise as well as of the images; {ACCEPTED}")
    least = LEAST_STD if are_numbers else 0
    if not (0 <= min(mean) <= max(mean) <= 1 and least < min(std) <= max(std) <= 1):
        raise ValueError(
            f"{means[0]} {numbers_text(mean)} and {stds[0]} {numbers_text(std)}: not for pixels in [0, 1]; "
            f"{ACCEPTED}"
        )
    return StoredScaling(mean=mean, std=std, paths=(means[0], stds[0]))


def numbers_text(values: Sequence[float]) -> str:
    """Return numbers as `--mean` takes them."""
    return ",".join(f"{value:.4g}" for value in values)


def _is_one_of_two(path: str, found: Mapping[str, Any]) -> bool:
    """Return True if a mean stands beside the std, and the other way round."""
    parent, own = path.rpartition(".")[0], STD if _is(MEAN, path) else MEAN
    return any(_is(own, other) for other in found if other.rpartition(".")[0] == parent)


def _words(name: str) -> set[str]:
    return {word.lower() for word in WORDS.findall(name)}


def _is(kind: set[str], path: str) -> bool:
    return bool(kind & _words(path.rpartition(".")[2]))


def _is_list(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim > 0
    return isinstance(value, list | tuple | LeftOut) and not isinstance(value, StoredNumber)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_list, value))


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, int | float | StoredNumber) and not isinstance(value, bool)


def _shortest(values: tuple[float, ...]) -> tuple[float, ...]:
    return values[:1] if len(set(values)) == 1 else values


def _numbers(path: str, value: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(_each_number(value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its numbers cannot be read; {ACCEPTED}") from error
    if not numbers:
        raise ValueError(f"{path}: holds no numbers; {ACCEPTED}")
    return numbers


def _each_number(value: Any) -> list[float]:
    if isinstance(value, StoredArray | StoredNumber):
        return value.numbers()
    if isinstance(value, Tensor):
        return [float(each) for each in value.flatten()]
    if isinstance(value, list | tuple):
        return [number for each in value for number in _each_number(each)]
    return [float(value)]
