"""Remove and debias (ROAD): how the class fares when ranked pixels are imputed from their neighbours."""

import math
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product

import torch
from torch import Tensor

from attrib_core.attribution.scores.imputation import imputed
from attrib_core.attribution.scores.score import Columns, Scored
from attrib_core.device_constants import constant
from attrib_core.prepared import probability_of
from attrib_core.seeding import Randomness

ROAD, MOST_FIRST, LEAST_FIRST = "road", "road_morf", "road_lerf"


@dataclass(frozen=True, kw_only=True)
class RoadSettings:
    """Settings of ROAD: percentiles of the ranking with `+` between them, and the noise of imputed pixels.

    At a percentile the pixels at or above it are imputed, so that a lower one removes more. `noise` is a standard
    deviation in units of [0, 1]. Raises ValueError for percentiles that are not between 0 and 100 in rising order.
    """

    percentiles: str = "10+20+30+40+50+60+70+80+90"
    noise: float = 0.01

    def __post_init__(self) -> None:
        try:
            found = self.numbers
        except ValueError:
            found = ()
        in_order = all(low < high for low, high in pairwise(found))
        if not found or not in_order or not 0 < found[0] <= found[-1] < 100:
            raise ValueError(
                f"percentiles={self.percentiles}: accepted are numbers between 0 and 100 in rising order, "
                "such as 20+50+80"
            )
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise={self.noise}: accepted are numbers from 0, in units of [0, 1]")

    @property
    def numbers(self) -> tuple[float, ...]:
        """The percentiles."""
        return tuple(float(each) for each in str(self.percentiles).split("+"))

    def num_removed(self, num_pixels: int) -> list[int]:
        """Return how many pixels of an image are at or above each percentile, as NumPy interpolates it."""
        return [num_pixels - math.ceil((num_pixels - 1) * (each / 100)) for each in self.numbers]


def road(scored: Scored, settings: RoadSettings) -> Columns:
    """Return by how much removing pixels changes the probability of the class, `[B, M]` by column.

    Rong et al. 2022, arXiv:2202.00449. Pixels are ranked by their attribution summed over channels, equal ones by
    position. At each percentile the most relevant ones (`road_morf`) or the least relevant ones (`road_lerf`) are
    imputed, and the change of the softmax probability is averaged over percentiles. `road` is half of the
    difference, least relevant minus most relevant: larger is better, a random ranking has about 0. These are
    ROADMostRelevantFirstAverage, ROADLeastRelevantFirstAverage and ROADCombined of pytorch-grad-cam. The noise of
    an image is the same for all methods and percentiles. Maps that are constant or not finite have no score.
    """
    changes = _changes(scored, settings)  # [M, 2, P, B]
    # Not `mean`, whose order of adding up depends on the number of images.
    most, least = (reduce(torch.add, part.unbind(1)) / part.shape[1] for part in changes.unbind(1))
    finite = torch.stack([each.isfinite().flatten(1).all(1) for each in scored.support.values()], 1)
    defined = finite & ~scored.is_constant
    columns = {ROAD: (least - most) / 2, MOST_FIRST: most, LEAST_FIRST: least}
    return {name: torch.where(defined, values.T, torch.nan) for name, values in columns.items()}


def _changes(scored: Scored, settings: RoadSettings) -> Tensor:
    """Return probability of the imputed image - that of the image, `[M, 2, P, B]`, the most relevant first."""
    subject = scored.subject
    model, images = subject.model, subject.images
    count, num_pixels = len(images), images[0, 0].numel()
    ranks = torch.stack([_ranks(each) for each in scored.support.values()])  # [M, B, H * W]
    # Ranks that are imputed: [2 * P, 2], from the first to before the last.
    removed = settings.num_removed(num_pixels)
    bounds = constant(torch.tensor, model.device, _bounds(tuple(removed), num_pixels))
    noise = _noise(scored, settings)

    def run(rows: range) -> Tensor:
        row = torch.arange(rows.start, rows.stop, device=model.device)
        image, at = row % count, row // count % len(bounds)
        rank = ranks[row // (count * len(bounds)), image]
        low, high = bounds[at].unbind(1)
        missing = ((rank >= low[:, None]) & (rank < high[:, None])).view(-1, *images.shape[-2:])
        changed = imputed(images[image], missing) + noise[image] * missing[:, None]
        return probability_of(model.exact_logits(changed), scored.classes[image])

    found = torch.cat(model.in_passes(len(ranks) * len(bounds) * count, run))
    clean = probability_of(subject.logits, scored.classes)
    return found.view(len(ranks), 2, len(removed), count) - clean


def _bounds(removed: tuple[int, ...], num_pixels: int) -> tuple[tuple[int, int], ...]:
    """Return the ranks that are imputed, for most relevant first and least relevant first by percentile."""
    both = product((True, False), removed)
    return tuple((0, number) if first else (num_pixels - number, num_pixels) for first, number in both)


def _ranks(attribution: Tensor) -> Tensor:
    """Return each pixel's place, `[B, H * W]`, 0 for the largest attribution `[B, C, H, W]`."""
    order = attribution.sum(1).flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _noise(scored: Scored, settings: RoadSettings) -> Tensor:
    """Return the noise of each image by its key, `[B, C, H, W]`."""
    subject = scored.subject
    keys = [(subject.settings.seed, ROAD, key) for key in subject.keys]
    return Randomness(keys, subject.images.device).normal(*subject.images.shape[1:]) * settings.noise
