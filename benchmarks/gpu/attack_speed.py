"""FGSM at 12 ε on ResNet-50: how fast, beside 1 forward, 1 backward and 11 forward passes of bare torch?"""

import io
import threading
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch
from attrib_core.attacks.mixed_precision import MixedPrecisionModel, attacked_model
from attrib_core.classifiers import load_classifier
from attrib_core.prepared import PreparedModel
from gpu.bench import EPSILONS, Bench
from gpu.results import Number, Rate, Result

NAME = "FGSM at 12 ε, ResNet-50"
MODEL, QUICK_MODEL = "resnet50", "resnet18"
WIDE_LEAD = (
    1e3  # times the last layer's random weights, so that few images are computed twice, as in trained ones
)


def run(bench: Bench) -> list[Iterator[Result]]:
    """Attack random images in each precision."""
    counts = (4,) if bench.quick else (64, 256)
    precisions = ("float32", "mixed") if bench.quick else ("float32", "tf32", "mixed")
    return [_rates(bench, precision, count) for precision in precisions for count in counts]


def _rates(bench: Bench, precision: str, count: int) -> Iterator[Result]:
    side = bench.size(224, 32)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, side, side), generator=generator) / 255
    batch = AttackBatch(images=images, labels=torch.arange(count) % 1000, keys=tuple(range(count)))
    try:
        model = _model(bench, precision, batch)
    except ValueError as error:  # a precision that the device does not have
        yield Number(name=f"{NAME}, {precision}: {error}", value=0, unit="images/s")
        return
    batch = AttackBatch(images=model.images(images), labels=batch.labels.to(model.device), keys=batch.keys)
    name, bare = f"{NAME}, {precision}, batch of {count}", BareLoop(model, batch)
    plain, rounded = (AttackSettings(rounding=each) for each in (False, True))

    def ours(settings: AttackSettings = plain) -> None:
        attack_batch(model, batch, "fgsm", EPSILONS, settings)

    beside = count / bench.seconds(bare.run)
    graphs = bench.graphed(bare.step)
    graph = None if graphs is None else graphs * count
    yield Rate(name=name, unit="images/s", ours=count / bench.seconds(ours), bare=beside, graph=graph)
    rate = count / bench.seconds(lambda: ours(rounded))
    yield Rate(name=f"{name}, also rounded to 8 bits", unit="images/s", ours=rate, bare=beside, graph=graph)
    with encoding_thread():
        rate = count / bench.seconds(lambda: ours(rounded))
    yield Rate(
        name=f"{name}, while a thread encodes PNGs", unit="images/s", ours=rate, bare=beside, graph=graph
    )
    waits = bench.host_waits(lambda: ours(rounded))
    yield Number(name=f"{name}: host waits a batch", value=waits.total(), places=dict(waits))


def _model(bench: Bench, precision: str, batch: AttackBatch) -> PreparedModel:
    classifier = load_classifier(QUICK_MODEL if bench.quick else MODEL, weights="untrained")
    with torch.no_grad():
        classifier.network.fc.weight.mul_(WIDE_LEAD)
    count = len(batch.images)
    model = attacked_model(classifier, precision, batch, EPSILONS, device=bench.device, batch_size=count)
    if isinstance(model, MixedPrecisionModel):
        model.band = 0.0  # for random weights the calibrated one is no measure
    return model


class BareLoop:
    """The same predictions by torch alone: one gradient, then a pass for each ε but 0."""

    def __init__(self, model: PreparedModel, batch: AttackBatch) -> None:
        self.model, self.batch = model, batch
        self._is_mixed = isinstance(model, MixedPrecisionModel)

    def run(self) -> Tensor:
        """Return the predictions `[11, B]` on the CPU."""
        return self.step().cpu()

    def step(self) -> Tensor:
        """Return the predictions on the device."""
        network, execution = self.model.classifier, self.model.execution
        with execution.numerics():
            points = self.batch.images.detach().requires_grad_()
            with execution.autocast():
                loss = F.cross_entropy(network(points).float(), self.batch.labels, reduction="sum")
            direction = torch.autograd.grad(loss, points)[0].sign()
            quick = self.model.quick.execution if self._is_mixed else execution
            with torch.no_grad(), quick.autocast():
                return torch.stack([self._predictions(direction, epsilon) for epsilon in EPSILONS[1:]])

    def _predictions(self, direction: Tensor, epsilon: float) -> Tensor:
        images = torch.add(self.batch.images, direction, alpha=epsilon).clamp_(0, 1)
        return self.model.classifier(images).argmax(1)


class encoding_thread:  # noqa: N801  # used as a `with` statement's function
    """A thread that encodes PNGs all the time, as the writing of the shard before does."""

    def __enter__(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 3, (224, 224, 3), dtype=np.uint8) * 127
        self._stop = threading.Event()

        def encode() -> None:
            while not self._stop.is_set():
                Image.fromarray(pixels).save(io.BytesIO(), format="PNG", compress_level=1)

        self._thread = threading.Thread(target=encode)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
