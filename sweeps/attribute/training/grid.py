"""What a grid of trainings is: models x data sets x learning rates x seeds, each a trial with a name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from attrib_core.classifiers import Description, Preprocessing
from attrib_core.datasets import Dataset, View
from attrib_core.execution import Execution
from attrib_core.training import TapeHeader, Trainer, TrainingSettings, initial_network
from attrib_core.training.models import AS_THE_MODEL_SAYS, trained_model


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of the grid; `name` tells it from the others and is safe as a folder's name."""

    name: str
    model: str
    dataset: str
    settings: TrainingSettings

    @property
    def tape_folder(self) -> str:
        """Where its tape lies in a run directory."""
        return f"tapes/{self.name}"


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The images to learn from, and those among which the panel is."""

    train: Dataset
    panel: Dataset


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """What actors share through the object store: trials by name, data by the data set's name.

    `description` says how users' own networks see their images, `definitions` which code they are, by model.
    """

    trials: Mapping[str, Trial]
    data: Mapping[str, TrainingData]
    segment: int  # updates between two checkpoints
    description: Description = AS_THE_MODEL_SAYS
    definitions: Mapping[str, str] = field(default_factory=dict)

    def trainer(self, trial: Trial, execution: Execution) -> Trainer:
        """Return the training of a trial, before its first update."""
        train = self.data[trial.dataset].train
        network = initial_network(trial.model, len(train.class_names), trial.settings.seed, self.description)
        return Trainer(network, self._preprocessing(trial), train, trial.settings, execution)

    def header(self, trial: Trial, **runs_on: Any) -> TapeHeader:
        """Return the header of the trial's tape; `runs_on` are the fields of `RunsOn`, by default the CPU's."""
        train = self.data[trial.dataset].train
        return TapeHeader(
            model=trial.model,
            definition=self.definitions.get(trial.model),
            dataset=f"{train.name} {train.split}",
            data_digest=train.digest,
            settings=trial.settings,
            segment=self.segment,
            num_steps=self.num_steps(trial),
            **runs_on,
        )

    def num_steps(self, trial: Trial) -> int:
        """Return the number of updates of a training."""
        settings = trial.settings
        return settings.epochs * -(-len(self.data[trial.dataset].train) // settings.batch_size)

    def num_segments(self, trial: Trial) -> int:
        """Return the number of stretches between two checkpoints."""
        return -(-self.num_steps(trial) // self.segment)

    def view(self, trial: Trial) -> View:
        """Return how the trial's network looks at an image."""
        return View.of_preprocessing(self._preprocessing(trial))

    def image_shape(self) -> tuple[int, int, int]:
        """Return `[C, H, W]`, which is the same for all trials: a column has one shape. Else raise ValueError."""
        views = {trial.model: self.view(trial) for trial in self.trials.values()}
        shapes = {name: (view.channels, view.image_size, view.image_size) for name, view in views.items()}
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise ValueError(
                f"model: images of several shapes ({listed}); accepted in one run are models of one"
            )
        return next(iter(shapes.values()))

    def _preprocessing(self, trial: Trial) -> Preprocessing:
        num_classes = len(self.data[trial.dataset].train.class_names)
        return trained_model(trial.model, num_classes, self.description)[1]


def grid(
    models: Sequence[str],
    datasets: Sequence[str],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    settings: TrainingSettings,
) -> dict[str, Trial]:
    """Return all trials of the grid by name. Raises ValueError where two would have the same name."""
    trials: dict[str, Trial] = {}
    for model, dataset, learning_rate, seed in product(models, datasets, learning_rates, seeds):
        words = (model, dataset, f"lr{learning_rate:.6g}", f"s{seed}")
        trial = Trial(
            name="-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words),
            model=model,
            dataset=dataset,
            settings=replace(settings, learning_rate=learning_rate, seed=seed),
        )
        if trial.name in trials:
            raise ValueError(f"learning_rates, model, dataset: two trials would be called {trial.name!r}")
        trials[trial.name] = trial
    return trials
