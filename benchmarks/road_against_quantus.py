"""How fast, and how exactly, is ROAD over test images, against Quantus and pytorch-grad-cam?

The same model, images, maps, shares, thread and process. All sides take turns chunk by chunk. Each removes the
most and the least relevant pixels at nine percentiles, imputes them from their neighbours and looks at the class.
The peers, one imputation at a time, get only the first images of each chunk; seconds are for an image.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import quantus
import torch
from peer_attacks import test_images
from pytorch_grad_cam.metrics.road import ROADCombined
from reporting import Finding, Row, command_line, publish
from torch import Tensor

from attrib_core.attribution import attribute
from attrib_core.classifiers import load_classifier
from attrib_core.prepared import PreparedModel, prepare
from cluster.process_memory import keep_freed_memory

MODEL = "fashion_deep"
METHOD = "gradient_x_input"
PERCENTILES = tuple(range(10, 100, 10))
OURS, QUANTUS, GRAD_CAM = "ours", "Quantus", "pytorch-grad-cam"

# Maps images `[B, C, H, W]`, classes `[B]` and maps `[B, C, H, W]` to scores `[B]`, if the side has some by image.
Run = Callable[[Tensor, Tensor, Tensor], Tensor | None]


@dataclass
class Side:
    """One way to compute ROAD: how many images of a chunk it gets, its seconds, and its scores."""

    name: str
    run: Run
    share: float = 1.0
    seconds: float = 0.0
    num_images: int = 0
    values: list[Tensor | None] = field(default_factory=list)

    def take_turn(self, images: Tensor, classes: Tensor, maps: Tensor) -> None:
        """Score the maps of a chunk."""
        count = max(1, round(self.share * len(images)))
        begin = time.perf_counter()
        self.values.append(self.run(images[:count], classes[:count], maps[:count]))
        self.seconds += time.perf_counter() - begin
        self.num_images += count

    @property
    def per_image(self) -> float:
        """Milliseconds an image."""
        return 1000 * self.seconds / self.num_images


def by_us(model: PreparedModel, reference: str, images: Tensor, classes: Tensor, _maps: Tensor) -> Tensor:
    """Score the maps, whose own computation, one gradient, counts too."""
    found = attribute(model, images, classes, [METHOD], target="label", scores=[reference])
    return found.scores["road"][:, 0]


def by_quantus(classifier: torch.nn.Module, images: Tensor, classes: Tensor, maps: Tensor) -> None:
    """Run Quantus for both orders. It removes about as many pixels, and gives accuracies, no scores by image."""
    for values in (maps, -maps):
        metric = quantus.ROAD(percentages=list(PERCENTILES), normalise=False, disable_warnings=True)
        metric(
            model=classifier,
            x_batch=images.numpy(),
            y_batch=classes.numpy(),
            a_batch=values.numpy(),
            channel_first=True,
            device="cpu",
        )


def by_grad_cam(classifier: torch.nn.Module, images: Tensor, classes: Tensor, maps: Tensor) -> Tensor:
    """Run pytorch-grad-cam on ranks: its thresholds would not tell apart pixels whose values are close."""
    places = maps.sum(1).flatten(1).argsort(dim=1, stable=True).argsort(1)
    ranks = (places.float() / places.shape[1]).view(len(maps), *maps.shape[2:])
    targets = [lambda logits, label=label: logits.softmax(-1)[label] for label in classes.tolist()]
    return torch.from_numpy(ROADCombined(list(PERCENTILES))(images, ranks.numpy(), targets, classifier))


def sides(share: float) -> list[Side]:
    """Return all sides; the peers get a share of the images."""
    model = prepare(load_classifier(MODEL), device="cpu")
    classifier = load_classifier(MODEL).eval()
    return [
        Side(OURS, partial(by_us, model, "road")),
        Side(QUANTUS, partial(by_quantus, classifier), share),
        Side(GRAD_CAM, partial(by_grad_cam, classifier), share),
    ]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=200, help="images a turn")
    parser.add_argument("--peer-images", type=int, default=100, help="of them for the peers")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as in an actor
    num_images, num_of_peers = (20, 4) if options.quick else (options.images, options.peer_images)
    images, labels = (part[:num_images] for part in test_images())
    chunk = min(options.chunk, num_images)
    maps = attribute(load_classifier(MODEL), images, labels, [METHOD], target="label").values[METHOD]
    taking_part = sides(num_of_peers / num_images)
    for side in taking_part:
        side.take_turn(images[:4], labels[:4], maps[:4])
        side.seconds, side.num_images, side.values = 0.0, 0, []
    for part in zip(images.split(chunk), labels.split(chunk), maps.split(chunk), strict=True):
        for side in taking_part:
            side.take_turn(*part)
    publish(options, rows(taking_part), findings(taking_part))


def rows(taking_part: list[Side]) -> list[Row]:
    """Return a row for each side."""
    ours = taking_part[0].per_image
    return [
        {
            "side": side.name,
            "images": side.num_images,
            "ms/image": side.per_image,
            "of ours": side.per_image / ours,
        }
        for side in taking_part
    ]


def findings(taking_part: list[Side]) -> list[Finding]:
    """Return the ratios of times, and how far scores are apart under different noise of the same strength."""
    ours, with_quantus, with_grad_cam = taking_part
    distances = [
        (mine[: len(theirs)] - theirs).abs()
        for mine, theirs in zip(ours.values, with_grad_cam.values, strict=True)
        if mine is not None and theirs is not None
    ]
    return [
        Finding(name="road / Quantus", value=with_quantus.per_image / ours.per_image, unit="x", target=20.0),
        Finding(name="road / pytorch-grad-cam", value=with_grad_cam.per_image / ours.per_image, unit="x"),
        Finding(
            name="median distance of scores to pytorch-grad-cam's, by other noise",
            value=float(np.nanmedian(torch.cat(distances))),
        ),
    ]


if __name__ == "__main__":
    main()
