"""Victims of an adversarial sweep: other models that are shown its images (`--evaluate-on`).

Victims that the first command names are columns of results/. Those that are named later have rows of their own in
victims/, since all files of results/ have the same columns. Their adversarial images are computed again, by
the same code from the same random numbers, so the rows are those that the first command would have written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.attacks.victims import check_victim
from attrib_core.classifiers import Checkpoint, Classifier, build_classifier, read_checkpoint
from attrib_core.classifiers.checks import check_logits
from attrib_core.classifiers.conversion import converted
from attrib_core.datasets.probing import probe, probe_images
from attrib_core.errors import in_one_line
from sweeps.images.inputs import NUM_PROBES, ImageInputs
from sweeps.model_options import model_definitions
from sweeps.plan import Axes, Shard
from sweeps.ranges import parse_names
from sweeps.schemas.axis_kinds import AXIS_KINDS, AxisKinds
from sweeps.side_table import SideTable

NONE = "none"
SETTING = "evaluate_on"
FOLDER, AXIS = "victims", "victim"
_OF_RESULTS = AXIS_KINDS["attack"]
# One attack on an image serves all victims that a command adds, as one gradient serves every ε.
KINDS = AxisKinds(group=_OF_RESULTS.group, cells=_OF_RESULTS.cells, whole=(*_OF_RESULTS.whole, AXIS))


@dataclass(frozen=True, kw_only=True)
class AttackInputs(ImageInputs):
    """What actors of an adversarial sweep share: the inputs, and victims by name.

    Those of `columns` are columns of results/.
    """

    victims: Mapping[str, Checkpoint]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, inputs: ImageInputs, victims: Mapping[str, Checkpoint], columns: Sequence[str]) -> Self:
        """Return the inputs with victims."""
        own = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
        return cls(**own, victims=victims, columns=tuple(columns))

    @property
    def victim_definitions(self) -> dict[str, str]:
        """Return the digests of the victims' weights, and which code builds them, for sweep.json."""
        digests = {f"victim {name}": victim.digest for name, victim in self.victims.items()}
        return digests | model_definitions(*self.victims.values())


def read_victims(text: str, inputs: ImageInputs) -> tuple[dict[str, Checkpoint], tuple[str, ...]]:
    """Read the victims of a list of references, `none` for none, and try them on a few images of the data set.

    Returns them by name, and lines for the user, with the accuracy of each. Raises ValueError for a name that is
    unknown or stands for two, for the model itself, for other classes, and for channels that cannot be converted.
    """
    victims: dict[str, Checkpoint] = {}
    for name in () if text == NONE else parse_names("evaluate_on", text):
        try:
            victim = read_checkpoint(name)
        except ValueError as error:
            raise ValueError(f"evaluate_on: {error}") from None
        if victim.name in victims:
            raise ValueError(
                f"evaluate_on: two are called {victim.name!r}; accepted are files and folders that differ in name"
            )
        _refuse_unfit(name, victim, inputs)
        victims[victim.name] = victim
    return victims, _accuracies(victims, inputs)


def _refuse_unfit(name: str, victim: Checkpoint, inputs: ImageInputs) -> None:
    model = inputs.checkpoint
    if {each.digest for each in inputs.checkpoints.values()} == {victim.digest}:
        raise ValueError(
            f"evaluate_on: {name!r} is the model that the images are made for; accepted are other models, and "
            "other weights of it, as NAME:weights=FILE"
        )
    if difference := victim.labels.difference(model.labels):
        raise ValueError(
            f"evaluate_on: {name!r} has {difference} as {model.name!r}; accepted are victims with the model's "
            "classes in its order"
        )


def _accuracies(victims: Mapping[str, Checkpoint], inputs: ImageInputs) -> tuple[str, ...]:
    """Return a line a victim, with its accuracy on a few images. Raises ValueError where it fails on them."""
    if not victims:
        return ()
    indices, images = probe_images(inputs.dataset, inputs.view)
    found = [
        _accuracy(name, build_classifier(victim), indices, images, inputs) for name, victim in victims.items()
    ]
    return tuple(line for lines in found for line in lines)


def _accuracy(
    name: str, victim: Classifier, indices: NDArray[np.int64], images: Tensor, inputs: ImageInputs
) -> list[str]:
    try:
        check_victim(name, victim, inputs.channels)
        seen = converted(images, victim)
        with torch.inference_mode():
            check_logits(victim(seen[:NUM_PROBES]), name)
        tried = probe(victim, indices, seen)
    except Exception as error:  # a user's network may raise anything
        reason = str(error) if isinstance(error, ValueError) else in_one_line(error)
        raise ValueError(f"evaluate_on: {reason}") from error
    line = f"victim {name} on {len(tried.indices)} images: {tried.describe(inputs.labels)}"
    if tried.is_no_better_than_chance(inputs.labels, victim.num_classes):
        return [line, f"warning: {line}, no better than chance; its classes may be in another order"]
    return [line]


def victims_of(shard: Shard, inputs: AttackInputs) -> tuple[str, ...]:
    """Return the victims that a shard's images are shown."""
    return shard.values(AXIS, str) if AXIS in shard.axes else inputs.columns


@dataclass(frozen=True, kw_only=True)
class DirectoryVictims:
    """The victims that a run directory has rows of: columns of results/, and those that were added later."""

    columns: Mapping[str, str]  # to the digest of their weights
    added: tuple[str, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any] | None, named: Mapping[str, Checkpoint]) -> Self:
        """Return those of a sweep.json, with the ones that a command names; a new directory's are all columns."""
        if record is None:
            return cls(columns={name: victim.digest for name, victim in named.items()}, added=())
        columns = record.get("settings", {}).get(SETTING, {})
        blocks = record.get("beside", {}).get(FOLDER, {}).get("blocks", [])
        before = [name for block in blocks for name in block["axes"][AXIS]]
        added = dict.fromkeys(name for name in (*before, *named) if name not in columns)
        return cls(columns=columns, added=tuple(added))

    @property
    def setting(self) -> dict[str, Any]:
        """What sweep.json records of the columns; nothing without any. They stay as the first command has them."""
        return {SETTING: dict(self.columns)} if self.columns else {}

    def side_table(self, products: Sequence[Axes], named: Sequence[str]) -> SideTable:
        """Return the rows of victims/ that a command asks for, whose cells for results/ are `products`."""
        added = tuple(name for name in named if name in self.added)
        requested = tuple({**product, AXIS: added} for product in products) if added else ()
        return SideTable(folder=FOLDER, kinds=KINDS, requested=requested)

    def check(self, named: Sequence[str], shard: Shard) -> None:
        """Raise ValueError for a shard of results/ if the command does not name all victims of the directory."""
        missing = [name for name in (*self.columns, *self.added) if name not in named]
        if missing and AXIS not in shard.axes:
            raise ValueError(
                f"evaluate_on: the directory has victims that this command does not name, {', '.join(missing)}; "
                f"new images are shown to all of them: --evaluate-on {','.join((*self.columns, *self.added))}"
            )
