"""The actor's side of victims: pinned models that are shown each adversarial image, and what is stored of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch

from attrib_core.attacks import AttackBatch, Transferred
from attrib_core.attacks.mixed_precision import attacked_model
from attrib_core.attacks.victims import fitting_batch_size
from attrib_core.classifiers import build_classifier
from attrib_core.classifiers.conversion import converted
from attrib_core.prepared import PreparedModel, default_batch_size, prepare
from sweeps.attack.victims import AttackInputs
from sweeps.columns import Columns
from sweeps.images.actor import ActorSettings


class PinnedVictims:
    """The victims of an actor, each prepared once."""

    def __init__(self, settings: ActorSettings, inputs: AttackInputs) -> None:
        self._settings, self._inputs = settings, inputs
        self._prepared: dict[tuple[str, tuple[float, ...]], PreparedModel] = {}

    def prepared(
        self, name: str, model: PreparedModel, calibration: AttackBatch | None, epsilons: Sequence[float]
    ) -> PreparedModel:
        """Return a victim in the precision of the sweep, in batches that suit those of the attacked model.

        Mixed precision is calibrated at these ε on the calibration batch, which is given for it alone.
        """
        key = name, tuple(epsilons) if calibration is not None else ()
        if key not in self._prepared:
            self._prepared[key] = self._prepare(name, model, calibration, epsilons)
        return self._prepared[key]

    def _prepare(
        self, name: str, model: PreparedModel, calibration: AttackBatch | None, epsilons: Sequence[float]
    ) -> PreparedModel:
        victim = build_classifier(self._inputs.victims[name])
        side, device, precision = victim.image_size, self._settings.device, self._settings.precision
        largest = default_batch_size(model.device, (side, side))
        if side == model.classifier.image_size:
            largest = model.batch_size  # the user's choice, if there is one
        size = fitting_batch_size(model.batch_size, largest)
        if calibration is None:
            return prepare(victim, device=device, precision=precision, batch_size=size)
        shown = AttackBatch(images=converted(calibration.images, victim), labels=calibration.labels)
        return attacked_model(victim, "mixed", shown, epsilons, device=device, batch_size=size)


def victim_columns(batches: Sequence[Mapping[str, Transferred]], num_epsilons: int) -> Columns:
    """Return the columns of results/ about the victims of a shard's batches, one row an image and ε."""
    columns: Columns = {}
    for name in batches[0]:
        for column, values in victim_facts([batch[name] for batch in batches], num_epsilons).items():
            columns[f"{column}.{name}"] = values
    return columns


def victim_facts(found: Sequence[Transferred], num_epsilons: int) -> dict[str, pa.Array]:
    """Return one victim's answers by column, one row an image and ε; null where its logits are not finite."""
    prediction = torch.cat([each.prediction for each in found]).flatten().numpy()
    margin = torch.cat([each.margin for each in found]).flatten().numpy()
    clean = torch.cat([each.clean_prediction for each in found]).numpy().repeat(num_epsilons)
    return {
        "victim_prediction": pa.array(prediction, mask=prediction < 0),
        "victim_margin": pa.array(margin, mask=np.isnan(margin)),
        "victim_clean_prediction": pa.array(clean, mask=clean < 0),
    }
