"""Ensembles: several classifiers as one, `A+B+C`. Images that fool all of them fool others better.

Each member sees the images in its own size, channels and normalisation. How their answers are combined (Dong et
al. 2018, arXiv:1710.06081, section 3.2; Liu et al. 2016, arXiv:1611.02770), with logits zᵢ of M members:

    logits           (1/M) Σ zᵢ
    probabilities    log (1/M) Σ softmax(zᵢ), whose softmax is the mean of the members' probabilities
    losses           (1/M) Σ zᵢ, but what is differentiated is the mean of what each zᵢ gives: (1/M) Σ J(zᵢ, y)

A mean of logits and a mean of log-probabilities differ by a number for each image, which no prediction and no
cross-entropy sees. So `losses` predicts the class whose mean loss is least.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from attrib_core.classifiers.checkpoint import Checkpoint
from attrib_core.classifiers.classifier import Classifier, InputScaling
from attrib_core.classifiers.conversion import can_convert, converted
from attrib_core.classifiers.identity import Identity
from attrib_core.classifiers.registry import SIGN

Combination = Literal["logits", "probabilities", "losses"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)


class EnsembleNetwork(nn.Module):
    """Maps images in [0, 1] to the combined logits `[B, K]` of its members."""

    def __init__(self, members: Sequence[Classifier], combination: Combination) -> None:
        super().__init__()
        self.members: Sequence[Classifier] = nn.ModuleList(members)  # type: ignore[assignment]  # it is one
        self.combination = combination

    def member_logits(self, images: Tensor) -> Tensor:
        """Return the logits `[B, M, K]` of each member."""
        members = (member for member in self.members if isinstance(member, Classifier))  # all of them
        return torch.stack([member(converted(images, member)) for member in members], 1)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.member_logits(images)
        if self.combination == "probabilities":
            return logits.log_softmax(2).logsumexp(1) - math.log(len(self.members))
        return logits.mean(1)

    def train(self, mode: bool = True) -> "EnsembleNetwork":
        """Leave the members, which refuse it, in eval mode."""
        self.training = False
        return self


class Ensemble(Classifier):
    """A classifier of several; images come in the size and the channels of the first."""

    def __init__(self, members: Sequence[Classifier], identity: Identity, combination: Combination) -> None:
        super().__init__(EnsembleNetwork(members, combination), identity, input_scaling="none")

    def with_input_scaling(self, input_scaling: InputScaling) -> Classifier:
        """Return the ensemble, whose members normalise. ValueError for images that are not to be normalised."""
        if input_scaling == "none":
            raise ValueError(f"input_scaling='none': {self.name} is an ensemble; accepted is 'model'")
        return self


def averages_losses(classifier: Classifier) -> EnsembleNetwork | None:
    """Return the network of an ensemble whose members' losses are averaged, None for any other classifier."""
    network = classifier.network
    if isinstance(network, EnsembleNetwork) and network.combination == "losses":
        return network
    return None


def ensemble_checkpoint(members: Sequence[Checkpoint], combination: Combination) -> Checkpoint:
    """Return the checkpoint of an ensemble. Raises ValueError for members that do not go together."""
    name, first = SIGN.join(member.name for member in members), members[0]
    digests = [member.digest for member in members]
    if combination not in COMBINATIONS:
        raise ValueError(f"ensemble={combination!r}: accepted are {', '.join(COMBINATIONS)}")
    if len(set(digests)) < len(digests):
        raise ValueError(f"model={name!r}: two members have the same weights; accepted are different ones")
    for member in members[1:]:
        if difference := member.labels.difference(first.labels):
            raise ValueError(
                f"model={name!r}: {member.name!r} has {difference} as {first.name!r}; accepted are members with "
                "the same classes in the same order"
            )
        given, wanted = len(first.preprocessing.mean), len(member.preprocessing.mean)
        if not can_convert(given, wanted):
            raise ValueError(
                f"model={name!r}: {member.name!r} takes {wanted} channels, {first.name!r} {given}; accepted are "
                "members of the same number, or of 1 and 3"
            )
    definitions = [member.definition for member in members if member.definition is not None]
    return Checkpoint(
        name=name,
        weights=SIGN.join(member.weights for member in members),
        weights_name=None,
        num_classes=first.num_classes,
        preprocessing=first.preprocessing,
        labels=first.labels,
        state={},
        digest=hashlib.sha256(json.dumps([combination, digests]).encode()).hexdigest(),
        notes=tuple(note for member in members for note in member.notes),
        definition="; ".join(definitions) or None,
        members=tuple(members),
        combination=combination,
    )
