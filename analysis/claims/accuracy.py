"""Claims about the networks: how many images they get right, and how large they are."""

import json
import math
from collections.abc import Callable

from analysis.attacks.rows import initially_correct
from analysis.claims import settings
from analysis.claims.claim import Claim, Claimed, Measurement, about
from analysis.claims.evidence import Evidence
from analysis.claims.rates import rate

_INTRODUCTION, _FLOWERS = "Introduction: Fashion MNIST", "Flower Type Identification"


def clean_accuracy(evidence: Evidence) -> list[Measurement]:
    """Measure the share of the attacked images that are right before the attack."""
    rows = evidence.rows[evidence.rows["checkpoint"] == "trained"].drop_duplicates("image_index")
    return [rate(int(initially_correct(rows).sum()), len(rows))] if len(rows) else []


def num_parameters(evidence: Evidence) -> list[Measurement]:
    """Count the values in a checkpoint of each training, from the header of its file."""
    trials = sorted(evidence.rows["trial"].astype("str").unique())
    sizes = [
        (trial, _size(evidence, f"tapes/{trial}/checkpoints/step-00000000.safetensors")) for trial in trials
    ]
    return [
        Measurement(value=size, low=size, high=size, count=1, subject=trial if len(trials) > 1 else "")
        for trial, size in sizes
        if size is not None
    ]


def _size(evidence: Evidence, path: str) -> int | None:
    content = evidence.run.directory.files.read_if_present(path)
    if content is None:
        return None
    # safetensors: eight bytes of length, then JSON that names each tensor with its shape.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")


def _accuracy(measure: Callable[[Evidence], list[Measurement]] = clean_accuracy, **fields: object) -> Claim:
    needs = "the network's clean predictions (checkpoint `trained`)"
    return Claim(kind="attack", needs=needs, measure=measure, bound=True, **fields)  # type: ignore[arg-type]


CLAIMS = (
    _accuracy(
        id="fashion-deep-accuracy",
        section=_INTRODUCTION,
        statement="The deep network classifies Fashion-MNIST's test images with more than 91 % accuracy.",
        says="> 91 %",
        original=0.91,
        setting=settings.FASHION,
        command=settings.ATTACK,
        claimed=Claimed(0.91, 1.0),
        differs="weights trained here, with augmentation and AdamW",
    ),
    _accuracy(
        id="fashion-alexnet-accuracy",
        section=_INTRODUCTION,
        statement="The AlexNet reaches about 72 % on Fashion-MNIST without tuning.",
        says="about 72 %",
        original=0.72,
        setting=settings.FASHION_ALEXNET,
        command=settings.ALEXNET,
        claimed=about(0.72, 0.05, "give or take 5 points: one training, its seed unknown"),
        differs="the original does not say for how many epochs it trained",
    ),
    _accuracy(
        id="flower-accuracy",
        section=_FLOWERS,
        statement="The deep network tells five kinds of flowers apart with 61 % test accuracy.",
        says="61 %",
        original=0.61,
        setting=settings.FLOWERS,
        command=settings.FLOWERS_ATTACK,
        claimed=about(0.61, 0.05, "give or take 5 points: one training, its split unknown"),
        differs="another split into training and test images; augmentation",
    ),
    Claim(
        id="fashion-deep-parameters",
        section=_INTRODUCTION,
        statement="The deep network has about 180,000 parameters.",
        says="about 180,000",
        original=180_000,
        kind="attribute_training",
        setting=settings.FASHION,
        needs="a training of fashion_deep with its tape",
        command=settings.TRAINING,
        measure=num_parameters,
        claimed=about(180_000, 5_000, "to the nearest ten thousand"),
        form="count",
        bound=True,
    ),
    Claim(
        id="fashion-alexnet-parameters",
        section=_INTRODUCTION,
        statement="The AlexNet has more than 10,000,000 parameters.",
        says="> 10,000,000",
        original=10_000_000,
        kind="attribute_training",
        setting=settings.FASHION_ALEXNET,
        needs="a training of fashion_alexnet with its tape",
        command=settings.ALEXNET_TRAINING,
        measure=num_parameters,
        claimed=Claimed(10_000_000, math.inf),
        form="count",
        bound=True,
        differs="the statistics of batch normalisation count too (about 700 values)",
    ),
)
