"""Why do some float32 predictions differ from foolbox's? Each difference, explained and counted.

Two orders of adding up the same numbers agree to seven digits. They tell predictions apart where the two largest
logits are tied, and gradients where an activation lies on the kink of a ReLU or two pixels of a pooling window are
tied up to rounding: there the gradient is that of one side or of the other, and both are right.
"""

import warnings
from collections.abc import Iterator

import torch
from peer_attacks import EPSILONS, foolbox_predictions, test_images
from reporting import Finding, Row, command_line, publish
from torch import Tensor, nn

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch
from attrib_core.attacks.mixed_precision import attacked_model
from attrib_core.classifiers import load_classifier

MODEL, BATCH = "fashion_deep", 400
# Roundings of float32: of logits, after all layers, and of an activation beside the largest of its layer.
TIED_LOGITS, ON_KINK = 1e-5, 1.2e-7
EXACT_TIE = 1e-12  # in float64


def main() -> None:
    options = command_line(__doc__).parse_args()
    images, labels = test_images()
    if options.quick:
        images, labels = images[:1000], labels[:1000]
    ours, gaps = our_predictions(images, labels)
    theirs = predicted_by_foolbox(images, labels)
    differing = (ours != theirs).nonzero().tolist()
    rows: list[Row] = [
        {
            "image": index,
            "ε": f"{EPSILONS[column]:.4f}",
            "ours": int(ours[index, column]),
            "foolbox's": int(theirs[index, column]),
            "gap of the logits": f"{gaps[index, column]:.2g}",
            "nearest kink": f"{nearest_kink(images[index : index + 1]):.1g}",
        }
        for index, column in differing
    ]
    ties = sum(float(row["gap of the logits"]) < TIED_LOGITS for row in rows)
    kinks = sum(
        float(row["gap of the logits"]) >= TIED_LOGITS and float(row["nearest kink"]) < ON_KINK
        for row in rows
    )
    control = sum(nearest_kink(image) < ON_KINK for image in images[:: len(images) // 100].split(1))
    publish(
        options,
        rows or [{"image": "no prediction differs"}],
        [
            Finding(name="predictions that differ", value=float(len(rows)), unit=f"of {ours.numel():,}"),
            Finding(name="of these, logits tied", value=float(ties)),
            Finding(name="of these, a gradient on a kink", value=float(kinks)),
            Finding(name="of a hundred other images, on a kink", value=float(control)),
            Finding(name="unexplained", value=float(len(rows) - ties - kinks), target=0, at_most=True),
        ],
    )


def our_predictions(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions `[N, E]`, and the margin between the label and its best rival `[N, E]`."""
    model = attacked_model(
        load_classifier(MODEL), "float32", AttackBatch(images=images, labels=labels), EPSILONS
    )
    settings, predictions, gaps = AttackSettings(rounding=False), [], []
    for batch in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        attacked = AttackBatch(images=batch[0], labels=batch[1])
        found = attack_batch(model, attacked, "fgsm", EPSILONS, settings, keep=range(len(batch[0])))
        predictions.append(found.adversarial.prediction)
        top = [model.logits(each).topk(2, dim=1).values for each in found.adversarial_images.unbind(1)]
        gaps.append(torch.stack([values[:, 0] - values[:, 1] for values in top], 1))
    return torch.cat(predictions), torch.cat(gaps)


def predicted_by_foolbox(images: Tensor, labels: Tensor) -> Tensor:
    predict = foolbox_predictions(load_classifier(MODEL))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = zip(images.split(500), labels.split(500), strict=True)
        return torch.cat([predict(*batch, EPSILONS) for batch in batches])


def nearest_kink(image: Tensor) -> float:
    """Return how far an image is from another linear piece of the network, in float64.

    The least distance of a ReLU's input from zero, or of a pooling window's two largest pixels from each other,
    relative to the layer's largest value. Exact ties, as of an empty background's windows, are sums of the same
    numbers, decided alike by everyone.
    """
    network = load_classifier(MODEL)
    values = (image.double() - network.mean.double()) / network.std.double()
    distances = []
    for layer in network.network.double().children():
        largest = values.abs().max().item()
        distances += [
            each[each > EXACT_TIE * largest].min().item() / largest for each in _distances(layer, values)
        ]
        values = layer(values)
    return min(distances)


def _distances(layer: nn.Module, values: Tensor) -> Iterator[Tensor]:
    if isinstance(layer, nn.ReLU):
        yield values.abs()
    if isinstance(layer, nn.MaxPool2d):
        windows = nn.functional.unfold(values, 2, stride=2).unflatten(1, (-1, 4))
        top = windows.topk(2, dim=2).values
        # A window that the ReLU behind it sets to zero does not count.
        yield torch.where(top[:, :, 0] > 0, top[:, :, 0] - top[:, :, 1], torch.inf)


if __name__ == "__main__":
    main()
