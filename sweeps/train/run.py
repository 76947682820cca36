"""A training from its data to its file of weights, with lines that say how it goes."""

import json
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from attrib_core.classifiers import Description, canonical_name
from attrib_core.classifiers.registry import find_architecture
from attrib_core.datasets import Dataset, load_dataset, subset
from attrib_core.execution import choose_execution
from attrib_core.training import (
    DivergedError,
    NormalizedImages,
    Trainer,
    TrainingSettings,
    accuracy,
    initial_network,
)
from attrib_core.training.models import check_images, trained_model
from sweeps.cli import typed_options
from sweeps.ranges import parse_names
from sweeps.train.weights_output import WeightsOutput

DATASETS = {
    "fashion_deep": "fashion_mnist",
    "fashion_alexnet": "fashion_mnist",
    "flower_deep": "flowers",
    "flower_deep_grey": "flowers",
}
SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True, kw_only=True)
class TrainingSource:
    """The data to learn from; `splits` are those to train on and to test on."""

    dataset: str | None
    root: Path | None
    splits: tuple[str, str]
    classes: str | None

    def load(self) -> tuple[Dataset, Dataset]:
        """Return training and test set. Raises ValueError if there is none or their classes differ."""
        if self.dataset is None:
            raise ValueError(f"dataset: needed for a model other than {', '.join(DATASETS)}")
        train, test = (
            load_dataset(self.dataset, split=split, root=self.root, log=print) for split in self.splits
        )
        if self.classes is not None:
            names = parse_names("classes", self.classes, train.class_names)
            train, test = subset(train, names), subset(test, names)
        if train.class_names != test.class_names:
            raise ValueError(f"dataset={self.dataset!r}: the classes of {' and '.join(self.splits)} differ")
        return train, test


class TrainingRun:
    """One training. ValueError, before anything is written, where it cannot be as it was asked for."""

    def __init__(
        self,
        model: str,
        description: Description,
        source: TrainingSource,
        settings: TrainingSettings,
        output: WeightsOutput,
        device: str | None,
    ) -> None:
        self._model, self._description, self._output = model, description, output
        execution = choose_execution(device)
        find_architecture(model)  # an unknown one is refused before data are read
        self._train_set, self._test_set = source.load()
        num_classes = len(self._train_set.class_names)
        _, preprocessing = trained_model(model, num_classes, description)
        network = initial_network(model, num_classes, settings.seed, description)
        check_images(model, network, preprocessing)
        self._trainer = Trainer(network, preprocessing, self._train_set, settings, execution)
        self._test_images = NormalizedImages(self._test_set, preprocessing, execution)

    @property
    def progress(self) -> str:
        return f"{self._trainer.step} of {self._trainer.num_steps} updates"

    def train(self) -> None:
        """Train to the end, writing checkpoints and, last, the weights."""
        trainer = self._trainer
        self._checkpoint()
        for epoch in range(trainer.settings.epochs):
            started = time.perf_counter()
            loss = self._train_epoch()
            seconds = time.perf_counter() - started
            share = accuracy(trainer.network, self._test_images)
            print(
                f"epoch {epoch + 1}/{trainer.settings.epochs}: loss {loss:.4f}, "
                f"test accuracy {share:.2%}, {seconds:.1f} s",
                flush=True,
            )
        self._check_finite()
        share = accuracy(trainer.network, self._test_images)
        self._output.finish(trainer.network, self._metadata(share))
        print(f"{self._output}: test accuracy {share:.2%} on {len(self._test_set):,} images")
        if said := _options_of(self._description):
            print(f"Sweeps must be told of its images too: --weights {self._output} {said}")

    def _train_epoch(self) -> float:
        """Train for an epoch and return the mean loss over its updates."""
        trainer, updates, last_line = self._trainer, [], time.monotonic()
        for _ in range(trainer.steps_per_epoch):
            updates.append(trainer.advance())
            self._checkpoint()
            if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                print(f"  {self.progress}, loss {updates[-1].loss:.4f}", flush=True)
        trainer.settle()
        return sum(update.loss for update in updates) / len(updates)

    def _checkpoint(self) -> None:
        trainer = self._trainer
        if self._output.is_due(trainer.step, trainer.steps_per_epoch, trainer.num_steps):
            trainer.settle()
            self._output.checkpoint(trainer.network, trainer.step)

    def _check_finite(self) -> None:
        """Raise DivergedError for weights that are no numbers: no loss follows the last update to show them."""
        if not all(bool(tensor.isfinite().all()) for tensor in self._trainer.network.state_dict().values()):
            raise DivergedError(
                "the last update made weights that are no numbers; try a smaller learning rate"
            )

    def _metadata(self, test_accuracy: float) -> dict[str, str]:
        """Return what made the weights. It holds no time, so that the same command writes the same bytes."""
        settings = self._trainer.settings
        return {
            "model": canonical_name(self._model),
            "command": f"python sweeps/train_classifier.py {shlex.join(typed_options())}",
            "test_accuracy": f"{test_accuracy:.4f}",
            "dataset": self._train_set.name,
            "train_digest": self._train_set.digest,
            "test_digest": self._test_set.digest,
            "class_names": json.dumps(self._train_set.class_names),
            "settings": json.dumps(asdict(settings)),
            "seed": str(settings.seed),
            "torch_version": torch.__version__,
            "threads": str(torch.get_num_threads()),
        }


def _options_of(description: Description) -> str:
    """Return the options that say the same of the images to a sweep."""
    numbers = {"mean": description.mean, "std": description.std}
    options = {name: ",".join(map(str, each)) for name, each in numbers.items() if each is not None}
    counts = {"image-size": description.image_size, "channels": description.channels}
    options |= {name: str(each) for name, each in counts.items() if each is not None}
    return " ".join(f"--{name} {value}" for name, value in options.items())
