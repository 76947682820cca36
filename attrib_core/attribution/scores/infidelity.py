"""Infidelity: how far an attribution is from saying by how much the network's answer changes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from attrib_core.attribution.scores.perturbations import Squares, noisy, pixel_sum, randomness_of
from attrib_core.attribution.scores.score import Columns, Scored, check_finite
from attrib_core.host_copies import host_copies
from attrib_core.prepared import loss_of
from attrib_core.seeding import Randomness

INFIDELITY, SCALED, OF_ZERO = "infidelity", "infidelity_scaled", "infidelity_of_zero"
Perturbation = Literal["square", "normal"]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)
# A window is the image's shorter side over this. Ten windows of a quarter then cover about half of the image, and
# one is larger than occlusion's, whose maps would otherwise answer the very question that they are computed from.
SIDES_PER_WINDOW = 4
NOISE = 0.1


@dataclass(frozen=True, kw_only=True)
class InfidelitySettings:
    """The perturbations of an image: `num_samples` of them.

    `square` blackens a window of `window_size` pixels, by default a quarter of the image's shorter side, somewhere
    within the image. `normal` adds normal noise of standard deviation `noise`, by default 0.1, in units of [0, 1].
    Raises ValueError for values that cannot be.
    """

    num_samples: int = 10
    perturbation: Perturbation = "square"
    window_size: int | None = None
    noise: float | None = None

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples={self.num_samples}: accepted are 1 and more")
        if self.perturbation not in PERTURBATIONS:
            raise ValueError(f"perturbation={self.perturbation!r}: accepted are {', '.join(PERTURBATIONS)}")
        if self.window_size is not None:
            self._only_for("square", "window_size")
            if self.window_size < 1:
                raise ValueError(f"window_size={self.window_size}: accepted are 1 and more")
        if self.noise is not None:
            self._only_for("normal", "noise")
            if not (math.isfinite(self.noise) and self.noise > 0):
                raise ValueError(f"noise={self.noise}: accepted are numbers above 0, in units of [0, 1]")

    def check_images(self, height: int, width: int) -> None:
        """Raise ValueError where the window is larger than images of `height` × `width`."""
        self.window(height, width)

    def window(self, height: int, width: int) -> int:
        """Return the side of the window on images of `height` × `width`. Raises ValueError if it is larger."""
        side = min(height, width)
        size = max(1, side // SIDES_PER_WINDOW) if self.window_size is None else self.window_size
        if size > side:
            raise ValueError(f"window_size={size}: accepted are 1 to {side} on images of {height} × {width}")
        return size

    def perturbed(self, images: Tensor, keys: Sequence[int] = (), *, seed: int = 0) -> Tensor:
        """Return the images that the score perturbs images `[B, C, H, W]` to: `[B, num_samples, C, H, W]`.

        They follow from the images' keys, by default their positions, and the seed. captum's `perturb_func`
        gets each image `num_samples` times in a row, so `perturbed(...).flatten(0, 1)` gives it the same draws.
        """
        randomness = randomness_of(INFIDELITY, images, keys, seed)
        if self.perturbation == "normal":
            draw = partial(_normal, self, randomness)
            return torch.cat(list(noisy(images, self.num_samples, draw, 1))).transpose(0, 1)
        squares = self.squares(images, randomness)
        pairs = torch.ones(len(images), self.num_samples).nonzero().to(images.device)
        return squares.blackened(*pairs.unbind(1)).view(len(images), self.num_samples, *images.shape[1:])

    def squares(self, images: Tensor, randomness: Randomness) -> Squares:
        """Draw the windows of images `[B, C, H, W]`."""
        return Squares.drawn(images, self.window(*images.shape[-2:]), self.num_samples, randomness)

    def _only_for(self, perturbation: str, name: str) -> None:
        if self.perturbation != perturbation:
            raise ValueError(
                f"{name}={getattr(self, name)}: perturbation={self.perturbation} has none; accepted is it with "
                f"perturbation={perturbation}"
            )


def infidelity(scored: Scored, settings: InfidelitySettings) -> Columns:
    """Return the mean of (Σ I · map − (f(x) − f(x'))) ² over perturbed images x', where f is what is explained.

    Yeh et al. 2019, arXiv:1901.09392. I is x − x'; for maps that are shares of a change, such as gradient x input,
    it is (x − x') / x. It is captum's infidelity; `infidelity_scaled` multiplies each map by the best number
    first, as captum does under `normalize`; `infidelity_of_zero` is that of a map of zeros. All three are 0 where
    no perturbation changes the answer. Raises ValueError for NaN and infinite values.
    """
    scored.once(check_finite)
    ask = _ask_squares if settings.perturbation == "square" else _ask_noise
    promised, found = ask(scored, settings)  # [B, M, S] each
    promised, found = promised.contiguous(), found.contiguous()  # so that the order of sums is one
    power = promised.square().sum(2, keepdim=True)
    scale = (promised * found).sum(2, keepdim=True) / torch.where(power == 0, 1.0, power)
    columns = {INFIDELITY: promised - found, SCALED: scale * promised - found, OF_ZERO: found}
    return {name: missed.square().mean(2).float() for name, missed in columns.items()}


def _ask_squares(scored: Scored, settings: InfidelitySettings) -> tuple[Tensor, Tensor]:
    """Return by how much windows change f, by each map and by the network: `[B, M, S]` each, in float64.

    A window over black pixels changes nothing, and needs no pass. The pairs (image, window) that remain are put
    one after the other and cut into passes; one pass serves all maps.
    """
    subject = scored.subject
    squares = settings.squares(subject.images, _randomness(scored))
    changes = squares.changes()
    [on_host] = host_copies([changes])
    pairs = subject.model.execution.to_device(on_host.nonzero())  # [N, 2], image by image
    clean = _answers(scored, subject.logits, slice(None))

    def run(part: range) -> Tensor:
        image, sample = pairs[part.start : part.stop].unbind(1)
        logits = subject.model.exact_logits(squares.blackened(image, sample))
        return clean[:, image] - _answers(scored, logits, image)

    found = clean.new_zeros(len(clean), *changes.shape)
    if len(pairs):
        found[:, pairs[:, 0], pairs[:, 1]] = torch.cat(subject.model.in_passes(len(pairs), run), 1)
    # In a window x' is 0: (x − x') / x is 1, except for a black pixel, and x − x' is x.
    shares, pixels = subject.images != 0, subject.images
    promised = [squares.sums(values * factor) for values, factor in _meeting(scored, shares, pixels)]
    return torch.stack(promised, 1), _by_map(scored, found)


def _ask_noise(scored: Scored, settings: InfidelitySettings) -> tuple[Tensor, Tensor]:
    """Return by how much noise changes f, by each map and by the network: `[B, M, S]` each, in float64."""
    subject, images = scored.subject, scored.subject.images
    divisor = torch.where(images == 0, 1.0, images)  # as captum divides
    clean = _answers(scored, subject.logits, slice(None))
    promised, found = [], []
    draw = partial(_normal, settings, _randomness(scored))
    for points in noisy(images, settings.num_samples, draw, subject.model.batch_size):  # [S, B, C, H, W]
        moved = images - points
        maps = _meeting(scored, moved / divisor, moved)
        promised.append(torch.stack([pixel_sum(values * factor) for values, factor in maps], 1))
        rows = torch.arange(len(images), device=images.device).repeat(len(points))
        answers = _answers(scored, subject.model.exact_logits(points.flatten(0, 1)), rows)
        found.append(clean[:, None] - answers.view(-1, *points.shape[:2]))
    return torch.cat(promised).permute(2, 1, 0), _by_map(scored, torch.cat(found, 1).transpose(1, 2))


def _meeting(scored: Scored, shares: Tensor, differences: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return each map `[B, C, H, W]` with what it is multiplied by, `[..., B, C, H, W]`."""
    pairs = zip(scored.methods.values(), scored.values.values(), strict=True)
    return [(values, shares if method.of_inputs else differences) for method, values in pairs]


def _answers(scored: Scored, logits: Tensor, rows: slice | Tensor) -> Tensor:
    """Return what is explained at logits `[N, K]` of the images `rows`, `[F, N]`: one row, or two.

    The methods of the loss explain the label's loss, whatever the target is.
    """
    subject = scored.subject
    return torch.stack(
        [
            loss_of(logits, subject.labels[rows]) if of_loss else subject.explained(logits, rows)
            for of_loss in _kinds(scored)
        ]
    )


def _by_map(scored: Scored, found: Tensor) -> Tensor:
    """Return the rows of `[F, B, S]` that belong to the methods, `[B, M, S]`, in float64."""
    kinds = _kinds(scored)
    places = [kinds.index(method.explains_loss) for method in scored.methods.values()]
    return torch.stack([found[place] for place in places], 1).double()


def _kinds(scored: Scored) -> list[bool]:
    return sorted({method.explains_loss for method in scored.methods.values()})


def _randomness(scored: Scored) -> Randomness:
    subject = scored.subject
    return randomness_of(INFIDELITY, subject.images, subject.keys, subject.settings.seed)


def _normal(settings: InfidelitySettings, randomness: Randomness, *shape: int) -> Tensor:
    return randomness.normal(*shape) * (NOISE if settings.noise is None else settings.noise)
