"""The actor's side of the sweep that looks for the strongest images of units and classes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

from attrib_core.activations import Activations, class_activations, unit_activations
from attrib_core.downloads import Download
from attrib_core.generation import to_8_bits
from attrib_core.units import UnitName, Units
from sweeps.activations.rows import ActivationShard, Measured, Shown, image_table, result_table
from sweeps.commit import commit_shard
from sweeps.images.actor import ActorSettings, ImageActor
from sweeps.images.inputs import ImageInputs
from sweeps.plan import Shard

UNIT_AXIS, CLASS_AXIS = "unit_of_layer", "class_index"
NUM_TRIED_IMAGES = 32  # that `--plan` measures the time of


@dataclass(frozen=True, kw_only=True)
class ActivationInputs(ImageInputs):
    """What actors share: model and data, and the units of a run that is of units."""

    units: Units | None

    @classmethod
    def of(cls, inputs: ImageInputs, units: Units | None) -> Self:
        """Return the inputs with units."""
        own = {each.name: getattr(inputs, each.name) for each in fields(inputs)}
        return cls(**own, units=units)

    @property
    def definitions(self) -> dict[str, str]:
        """Digests of the directions that units are, for sweep.json."""
        return {} if self.units is None else self.units.definitions

    def check(self, shard: Shard) -> None:
        """Raise ValueError if an earlier command's shard has units of a layer or file that is not named here."""
        if UNIT_AXIS in shard.axes:
            self.measured(shard)

    def measured(self, shard: Shard) -> Measured:
        """Return what a shard asks of its images."""
        if CLASS_AXIS in shard.axes:
            return Measured(classes=shard.values(CLASS_AXIS, int))
        assert self.units is not None, shard.id
        return Measured(units=named_units(shard.values(UNIT_AXIS, str), self.units))


def axis_of(units: Units) -> tuple[str, ...]:
    """Return the units as an axis names them: `LAYER:UNIT`."""
    return tuple(f"{layer}:{name}" for layer, names in units.names.items() for name in names)


def named_units(axis: Sequence[str], known: Units) -> Units:
    """Return the units that an axis names, among the known layers and files.

    A directory's earlier command may have named other channels of a layer. Raises ValueError for other layers and
    files, of which this command knows nothing.
    """
    names: dict[str, tuple[UnitName, ...]] = {}
    for text in axis:
        layer, _, unit = text.partition(":")
        name = UnitName.read(unit)
        if layer not in known.layers or (name.source and name.source not in known.directions):
            raise ValueError(
                f"units: the directory's shards also hold {text!r}, which an earlier command asked for; accepted "
                "is a command that names it too"
            )
        names[layer] = (*names.get(layer, ()), name)
    return replace(known, names=names)


@dataclass(frozen=True, kw_only=True)
class ActivationJobSettings:
    """What an actor needs to know; weights and data come apart from it, through the object store."""

    actor: ActorSettings
    top: int


class ActivationJob:
    """Finds the strongest images of a shard and stores them; lives as long as its actor."""

    def __init__(self, settings: ActivationJobSettings, inputs: ActivationInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self._actor = ImageActor(settings.actor, inputs)
        self._model = self._actor.model()

    def compute(self, shard: Shard) -> ActivationShard:
        """Show every image of the shard to the network."""
        measured = self.inputs.measured(shard)
        work = partial(self._batch, measured)
        batches, failed = self._actor.in_batches(self._model, shard.indices(), work)
        shown = Shown.joined([batch.wait() for batch in batches])
        failed |= shown.not_finite(measured)
        return ActivationShard(
            shard=shard,
            measured=measured,
            shown=shown.without(failed),
            top=self.settings.top,
            batch_size=self._model.batch_size,
            failed_images=self._actor.image_failures(failed),
        )

    def prefetch(self, shard: Shard) -> None:
        """Have the images of a shard that waits read."""
        self._actor.expect(shard.indices())

    def commit(self, shard: ActivationShard, attempt: int) -> dict[str, Any]:
        """Encode the images and commit the shard; the summary says whether this attempt was the first."""
        rows, images = partial(result_table, shard, self.inputs, attempt), partial(image_table, shard)
        return commit_shard(
            self._actor.run, shard.shard, attempt, images, rows, failed_images=shard.failed_images
        )

    def seconds_per_image(self, measured: Measured) -> float:
        """Measure the seconds that an image takes on this device."""
        work = partial(self._batch, measured)
        return self._actor.seconds_per_image(self._model, work, NUM_TRIED_IMAGES)

    def _batch(self, measured: Measured, indices: Sequence[int]) -> "_Batch":
        images = self._actor.images(indices, self._model.device)
        if measured.units is not None:
            found = unit_activations(self._model, images, measured.units)
        else:
            found = class_activations(self._model, images, measured.classes)
        tensors = (found.values, found.rows, found.columns, to_8_bits(images))
        return _Batch(indices=tuple(indices), downloads=tuple(map(Download, tensors)))


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """What came of a batch, on its way to the host: no batch waits for the copies of the one before it."""

    indices: tuple[int, ...]
    downloads: tuple[Download, ...]

    def wait(self) -> Shown:
        values, rows, columns, images_u8 = (each.wait() for each in self.downloads)
        found = Activations(values=values, rows=rows, columns=columns)
        return Shown(indices=self.indices, found=found, images_u8=images_u8)
