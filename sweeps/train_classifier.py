"""Trains a classifier and writes its weights as safetensors, with what made them in the file's metadata.

    python sweeps/train_classifier.py --model fashion_deep --output fashion_deep.safetensors
    python sweeps/train_classifier.py --model net.py:make_net --image-size 32 --dataset imagefolder:photos
    python sweeps/train_classifier.py --model flower_deep --dataset flowers --data-root ~/flowers \\
        --classes daisy,tulip --output flowers.safetensors --checkpoint-every 100 --checkpoints steps

`load_classifier(model, weights=FILE)` and `--weights FILE` of every sweep take the output and each checkpoint.
The weights are the same, bit for bit, for the same command, `--threads` and kind of CPU.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field

from attrib_core.training import (
    DivergedError,
    Loss,
    Optimizer,
    Schedule,
    TrainingSettings,
    original_settings,
    recommended_settings,
    with_changes,
)
from attrib_core.user_code import take_folder
from sweeps.cli import INTERRUPTED, USER_MISTAKE, program
from sweeps.help_text import print_help_if_asked
from sweeps.model_options import describe_images
from sweeps.store.terminal_text import terminal_text
from sweeps.train.run import DATASETS, TrainingRun, TrainingSource
from sweeps.train.weights_output import WeightsOutput

FAILED = 1


class TrainOptions(BaseModel):
    """Options of a training; what is not given follows from the model and `--recipe`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("fashion_deep", description="A reference that `load_classifier` takes.")
    image_size: int | None = Field(
        None,
        le=4096,
        description="Side to which images are resized for your own network; its own if not given.",
    )
    mean: str | None = Field(
        None, description="By channel, subtracted from images in [0, 1]: `0.5,0.5,0.5`; the model's own."
    )
    std: str | None = Field(None, description="By channel, divided by afterwards.")
    channels: int | None = Field(None, description="Of the images; as many as --mean has numbers.")
    code: Path | None = Field(None, description="Folder of your own modules; references name them.")
    dataset: str | None = Field(
        None,
        description=f"{', '.join(sorted(set(DATASETS.values())))}, imagefolder:PATH, torchvision:NAME, hf:NAME, "
        "FILE.py:FUNCTION.",
    )
    data_root: Path | None = Field(None, description="Where the data set's files are.")
    train_split: str = Field("train", description="The images to learn from.")
    test_split: str = Field("test", description="The images that the accuracy is of.")
    classes: str | None = Field(None, description="Only these classes, by name: `daisy,tulip`.")
    output: Path = Field(Path("classifier.safetensors"), description="The file of the trained weights.")
    overwrite: bool = Field(False, description="Replace an output and checkpoints that exist.")
    checkpoints: Path | None = Field(None, description="Folder of the weights along the training.")
    checkpoint_every: int | None = Field(None, description="Updates from one to the next; an epoch's.")
    recipe: Literal["recommended", "original"] = Field("recommended", description="Where settings come from.")
    epochs: int | None = Field(None, description="Times that each image is seen.")
    batch_size: int | None = Field(None, description="Images an update.")
    optimizer: Optimizer | None = Field(None, description="How gradients become updates.")
    learning_rate: float | None = Field(None, description="The first and largest.")
    momentum: float | None = Field(None, description="Of sgd.")
    weight_decay: float | None = Field(None, description="In the gradient (adam, sgd), or beside it (adamw).")
    schedule: Schedule | None = Field(None, description="Of the learning rate.")
    warmup_steps: int | None = Field(None, description="Updates over which the learning rate rises.")
    loss: Loss | None = Field(None, description="double_softmax repeats a fault of the original work.")
    horizontal_flip: bool | None = Field(None, description="Mirror half of the images, each time.")
    max_shift: int | None = Field(None, description="Shift images by up to so many pixels, each time.")
    seed: int = Field(0, description="Of the first weights, the order, augmentation and dropout.")
    threads: int | None = Field(None, description="CPU threads of torch; its own choice if not given.")
    device: str | None = Field(None, description="cpu or cuda; a GPU if there is one.")

    def settings(self) -> TrainingSettings:
        """Return the recipe's settings, replaced where given. Raises ValueError for values that cannot be."""
        recipe = original_settings if self.recipe == "original" else recommended_settings
        names = TrainingSettings.__dataclass_fields__
        return with_changes(recipe(self.model), **{name: getattr(self, name) for name in names})


def train(options: TrainOptions) -> int:
    """Check everything that can be checked beforehand, then train; return the exit status."""
    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"threads={options.threads}: accepted are 1 and more")
        torch.set_num_threads(options.threads)
    if options.code is not None:
        take_folder(options.code)
    source = TrainingSource(
        dataset=options.dataset or DATASETS.get(options.model),
        root=options.data_root,
        splits=(options.train_split, options.test_split),
        classes=options.classes,
    )
    output = WeightsOutput(options.output, options.checkpoints, options.checkpoint_every, options.overwrite)
    description = describe_images(options.mean, options.std, options.image_size, options.channels)
    run = TrainingRun(options.model, description, source, options.settings(), output, options.device)
    output.prepare()
    try:
        run.train()
    except KeyboardInterrupt:
        print(f"Interrupted after {run.progress}. {output.remains()}", file=sys.stderr)
        return INTERRUPTED
    except (DivergedError, OSError) as error:
        print(f"error: {error}. {output.remains()}", file=sys.stderr)
        return FAILED
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and train. A ValueError is a user's mistake: one line on stderr, status 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        print_help_if_asked(TrainOptions, given, program=program())
        return train(tyro.cli(TrainOptions, prog=program(), args=given))
    except ValueError as error:
        print(terminal_text(f"error: {error}"), file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("Interrupted before the training began; nothing was written.", file=sys.stderr)
        return INTERRUPTED


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
