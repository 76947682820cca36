"""Attribution of a panel of images after every minibatch of training, over a grid of trainings.

    python sweeps/attribute_training.py --epochs 1 --output runs/attribute_training
    python sweeps/attribute_training.py --learning-rates 0.001,0.01 --seeds 0-3 --output runs/attribute_training
    python sweeps/attribute_training.py --methods gradient_x_input,occlusion --output runs/attribute_training

Each training is recorded once, as a tape of checkpoints, and may then be played from any of them, bit for bit: by
several actors at once, and for methods that are asked for later.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from pydantic import Field

from attrib_core.attribution import METHODS, SCORES, Target, check_target, scores_named
from attrib_core.attribution.scores import check_boxes_given
from attrib_core.classifiers import canonical_name
from attrib_core.classifiers.registry import find_architecture
from attrib_core.datasets import load_dataset
from attrib_core.prepared import PreparedModel, prepare
from attrib_core.training import (
    SUMMED_METHODS,
    Loss,
    Optimizer,
    Schedule,
    TrainingSettings,
)
from sweeps.attribute.columns import BYTES_A_VALUE, MOST_BYTES
from sweeps.attribute.options import (
    REFERENCES,
    AttributionOptions,
    check_methods,
    definitions_of_methods,
    parse_methods,
    tried_methods,
)
from sweeps.attribute.scores import definitions_of_scores, parse_scores
from sweeps.attribute.training.grid import TrainingData, TrainingInputs, Trial, grid
from sweeps.attribute.training.models import model_definitions, model_notes
from sweeps.attribute.training.panel import follow
from sweeps.attribute.training.panel_pass import FollowSettings
from sweeps.attribute.training.segment_job import SegmentJob, SegmentJobSettings
from sweeps.attribute.training.segment_rows import SegmentAxes
from sweeps.attribute.training.tape_recording import record_tapes, refuse_other_tapes
from sweeps.cli import output_field, run_command
from sweeps.images.data import definitions_of, print_line
from sweeps.model_options import DescribedImages
from sweeps.plan import Axes, fingerprint
from sweeps.ranges import parse_integers, parse_names, parse_numbers
from sweeps.runner import run_sweep
from sweeps.schemas.axis_kinds import AXIS_KINDS
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep

KINDS = AXIS_KINDS["attribute_training"]
NUM_WARM_UP_UPDATES = 10


class AttributeTrainingOptions(AttributionOptions, DescribedImages):
    """Options of attribution along training."""

    output: str = output_field("attribute_training")
    model: str = Field("fashion_deep", description="Networks to train: references, of one shape of images.")
    image_size: int | None = Field(
        None, ge=1, description="Side to which images are resized for your own networks; theirs if not given."
    )
    dataset: str = Field(
        "fashion_mnist",
        description="Data sets: fashion_mnist, flowers, imagefolder:PATH, parquet:URL, torchvision:NAME, hf:NAME, "
        "FILE.py:FUNCTION.",
    )
    data_root: Path | None = Field(None, description="Folder that holds the data set.")
    split: str = Field("train", description="The images to learn from.")
    panel_split: str = Field("test", description="The images that the panel is chosen from.")
    epochs: int = Field(1, ge=1, description="Times that each image is seen.")
    batch_size: int = Field(16, ge=1, description="Images a minibatch.")  # the training's own
    learning_rates: str = Field("0.001", description="Learning rates: `0.001,0.01`.")
    seeds: str = Field("0", description="Of the first weights and the order of the data: `0-3`.")
    optimizer: Optimizer = Field("adam", description="How gradients become updates.")
    momentum: float = Field(0.9, description="Of sgd.")
    weight_decay: float = Field(0.0, description="In the gradient (adam, sgd), or beside it (adamw).")
    schedule: Schedule = Field("constant", description="Of the learning rate.")
    warmup_steps: int = Field(0, description="Updates over which the learning rate rises.")
    loss: Loss = Field("cross_entropy", description="double_softmax repeats a fault of the original work.")
    horizontal_flip: bool = Field(False, description="Mirror half of the images, each time.")
    max_shift: int = Field(0, description="Shift images by up to so many pixels, each time.")
    methods: str = Field(
        "gradient_x_input",
        description=f"Of {', '.join((*METHODS, *SUMMED_METHODS))}, or `all`; {REFERENCES}.",
    )
    target: Target = Field("predicted", description="Logit of the predicted class or the label, or the loss.")
    scores: str = Field(
        "none", description=f"Of each attribution at each state: of {', '.join(SCORES)}; `all` or `none`."
    )
    panel: str = Field("0-15", description="Images that are followed, by index.")
    every: int = Field(1, ge=1, description="Minibatches from one attribution to the next.")
    segment: int = Field(250, ge=1, description="Minibatches from one checkpoint to the next.")

    def described_size(self) -> int | None:
        return self.image_size

    def training_settings(self) -> TrainingSettings:
        """Return the settings that all trainings share. Raises ValueError for values that cannot be."""
        names = TrainingSettings.__dataclass_fields__.keys() - {"learning_rate", "seed"}
        return TrainingSettings(**{name: getattr(self, name) for name in names})


def training_sweep(options: AttributeTrainingOptions) -> Sweep:
    """Resolve the options against models and data. Raises ValueError for whatever cannot work."""
    methods = parse_methods(options.methods, (*METHODS, *SUMMED_METHODS))
    by_state = tuple(method for method in methods if method not in SUMMED_METHODS)
    for method in by_state:
        check_target(method, options.target)
    scores = parse_scores(options.scores)
    check_boxes_given(scores_named(scores), has_boxes=False)
    inputs = read_inputs(options)
    smallest = min(len(data.panel) for data in inputs.data.values())
    panel = parse_integers("panel", options.panel, limit=smallest)
    settings = SegmentJobSettings(
        output=RunDirectory(options.output).url,  # absolute: an actor works in another folder
        follow=FollowSettings(
            methods=methods,
            target=options.target,
            every=options.every,
            attribution=options.attribution_settings(),
            scores=scores,
        ),
        precision=options.precision,
        # Small networks gain next to nothing from a second thread, and another training would like the core.
        threads=options.threads_per_worker or 1,
    )
    check_methods(by_state, settings.follow.attribution, inputs.image_shape())
    by_state, notes = tried_methods(by_state, _models(settings, inputs), are_all=options.methods == "all")
    methods = tuple(name for name in methods if name in (*by_state, *SUMMED_METHODS))
    settings = replace(settings, follow=replace(settings.follow, methods=methods))
    bytes_per_segment = _bytes_per_segment(options, inputs, len(methods), len(panel))
    refuse_other_tapes(RunDirectory(options.output), inputs)
    return Sweep(
        name="attribute_training",
        kinds=KINDS,
        requested=_products(inputs, methods, panel),
        settings={
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "segment": options.segment,
            "every": options.every,
            "target": options.target,
            "split": options.split,
            "panel_split": options.panel_split,
            "precision": options.precision,
            "seed": options.seed,
            **({"scores": list(scores)} if scores else {}),
        },
        definitions=_definitions(inputs, methods, settings.follow),
        provenance={"trials": list(inputs.trials), "class_names": _class_names(inputs)},
        shard_size=1,
        factory=partial(SegmentJob, settings),
        shared=inputs,
        notes=(*model_notes(inputs), *notes),
        bytes_per_cell=bytes_per_segment,
        warm_up=partial(_seconds_per_segment, settings, inputs, panel),
        prepare=partial(record_tapes, settings, inputs),
    )


def read_inputs(options: AttributeTrainingOptions) -> TrainingInputs:
    """Read the grid of trainings and its data."""
    models = parse_names("model", options.model)
    for model in models:
        find_architecture(model)
    names = parse_names("dataset", options.dataset)
    rates = parse_numbers("learning_rates", options.learning_rates, low=0, high=1000)
    seeds, settings = parse_integers("seeds", options.seeds), options.training_settings()
    # By the name that rows have, which is that of a user's file without the path to it.
    data = {each.train.name: each for each in (_load(name, options) for name in names)}
    counts = sorted({len(each.train.class_names) for each in data.values()})
    described = options.description()
    definitions = model_definitions(models, counts, described)
    trials = grid(tuple(map(canonical_name, models)), tuple(data), rates, seeds, settings)
    inputs = TrainingInputs(
        trials=trials,
        data=data,
        segment=options.segment,
        description=described,
        definitions=definitions,
    )
    inputs.image_shape()
    return inputs


def _load(name: str, options: AttributeTrainingOptions) -> TrainingData:
    train, panel = (
        load_dataset(name, split=split, root=options.data_root, log=print_line)
        for split in (options.split, options.panel_split)
    )
    if train.class_names != panel.class_names:
        raise ValueError(f"dataset={name!r}: the classes of {options.split} and {options.panel_split} differ")
    return TrainingData(train=train, panel=panel)


def _class_names(inputs: TrainingInputs) -> list[str]:
    """Return the class names that all data sets share; none if they differ."""
    found = {data.train.class_names for data in inputs.data.values()}
    return list(found.pop()) if len(found) == 1 else []


def _products(inputs: TrainingInputs, methods: tuple[str, ...], panel: tuple[int, ...]) -> tuple[Axes, ...]:
    """Return a product for each number of segments: data sets may differ in size."""
    by_length: dict[int, list[str]] = {}
    for name, trial in inputs.trials.items():
        by_length.setdefault(inputs.num_segments(trial), []).append(name)
    return tuple(
        {
            "trial": tuple(names),
            "segment": tuple(range(num_segments)),
            "method": methods,
            "image_index": panel,
        }
        for num_segments, names in by_length.items()
    )


def _models(settings: SegmentJobSettings, inputs: TrainingInputs) -> list[Callable[[], PreparedModel]]:
    """Return how each network is made, untrained, for methods that look at it before it is trained."""
    by_model = {trial.model: trial for trial in inputs.trials.values()}
    return [partial(_tried_model, settings, inputs, trial) for trial in by_model.values()]


def _tried_model(settings: SegmentJobSettings, inputs: TrainingInputs, trial: Trial) -> PreparedModel:
    """Return an untrained network on this machine's CPU, for methods that look at it before work starts."""
    job = SegmentJob(replace(settings, device="cpu"), inputs)
    trainer = inputs.trainer(trial, job.training_execution)
    return prepare(job.live_classifier(trial, trainer), device="cpu", batch_size=2)


def _definitions(inputs: TrainingInputs, methods: Sequence[str], settings: FollowSettings) -> dict[str, str]:
    trials = {
        f"trial {name}": fingerprint(
            {
                "model": trial.model,
                "data": inputs.data[trial.dataset].train.digest,
                "settings": asdict(trial.settings),
                **_named("definition", inputs.definitions.get(trial.model)),
            }
        )
        for name, trial in inputs.trials.items()
    }
    by_state = [name for name in methods if name not in SUMMED_METHODS]
    panels = {f"panel of {name}": data.panel.digest for name, data in inputs.data.items()}
    code = definitions_of(*(data.train for data in inputs.data.values()))
    scores = definitions_of_scores(settings.scores)
    return trials | panels | code | scores | definitions_of_methods(by_state, settings.attribution)


def _named(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


def _bytes_per_segment(
    options: AttributeTrainingOptions, inputs: TrainingInputs, num_methods: int, num_images: int
) -> int:
    """Return the size of a shard's attributions. Raises ValueError if no actor could hold them."""
    num_states = -(-options.segment // options.every)
    size = BYTES_A_VALUE * num_states * num_images * num_methods * math.prod(inputs.image_shape())
    if size > MOST_BYTES:
        raise ValueError(
            f"segment={options.segment}: its attributions are {size / 1e9:.1f} GB in an actor's memory; accepted "
            f"are up to {MOST_BYTES / 1e9:.0f} GB: a smaller --segment, a larger --every, fewer methods or images"
        )
    return size


def _seconds_per_segment(
    settings: SegmentJobSettings, inputs: TrainingInputs, panel: tuple[int, ...]
) -> dict[str, float]:
    """Measure seconds a segment by trial, training included, from a few updates on this machine."""
    job = SegmentJob(settings, inputs)
    seconds: dict[str, float] = {}
    for name, trial in inputs.trials.items():
        axes = SegmentAxes(trial=name, methods=settings.follow.methods, panel=panel, segments=())
        trainer = inputs.trainer(trial, job.training_execution)
        follower = job.follower(axes, job.live_classifier(trial, trainer))
        follow(trainer, 1, [follower])
        start = time.perf_counter()
        follow(trainer, 1 + NUM_WARM_UP_UPDATES, [follower])
        seconds[name] = (time.perf_counter() - start) / NUM_WARM_UP_UPDATES * inputs.segment
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own if none is given, and return the exit status."""
    return run_command(
        AttributeTrainingOptions, lambda options: run_sweep(training_sweep(options), options), arguments
    )


if __name__ == "__main__":
    sys.exit(main())
