"""Noisy linear imputation without the noise: missing pixels become weighted means of their neighbours."""

import torch
from torch import Tensor

from attrib_core.attribution.scores.multigrid import OFFSETS, Grid, Multigrid

# An error of this size does not change a pixel of 32 bits in [0, 1] beyond its rounding.
TOLERANCE = 2e-8
MOST_STEPS = 500
# The host waits for a GPU once in so many steps. It does not wait for a CPU.
STEPS_A_LOOK = 4
CPU_NUMBERS, GPU_NUMBERS = 2**17, 2**25  # numbers of a field that are solved for at a time


def imputed(images: Tensor, missing: Tensor) -> Tensor:
    """Return images `[N, C, H, W]` whose missing pixels `[N, H, W]` are the weighted means of their neighbours.

    Weights are 1/6 for the four nearest and 1/12 for the diagonal ones; at the border, those that are there count.
    The equations of an image are solved to the rounding of 32 bits, together with those of all others: by
    conjugate gradients in 64 bits, preconditioned by multigrid. Rong et al. 2022, arXiv:2202.00449. Each image
    must keep a pixel.
    """
    numbers = CPU_NUMBERS if images.device.type == "cpu" else GPU_NUMBERS
    count = max(2, numbers // images[0].numel())
    parts = zip(images.split(count), missing.split(count), strict=True)
    return torch.cat([_imputed(*part) for part in parts])


def _imputed(images: Tensor, missing: Tensor) -> Tensor:
    if len(images) == 1:  # torch adds up a single row in an order of its own
        return _imputed(images.expand(2, -1, -1, -1), missing.expand(2, -1, -1))[:1]
    equations = Equations(missing, images.shape[1])
    known = images.transpose(0, 1)
    change = equations.inside(_solved(equations, known))
    found = (known + change).to(images).transpose(0, 1)
    return torch.where(missing[:, None], found, images)


class Equations:
    """The linear equations of the missing pixels, and their preconditioner."""

    def __init__(self, missing: Tensor, channels: int) -> None:
        self.channels = channels
        self.grid = grid = Grid(*missing.shape)
        flat = missing.new_zeros(grid.size, dtype=torch.float64)
        grid.inside(flat).copy_(missing)
        weight = flat.new_zeros(grid.size)
        ones = flat.new_zeros(1, grid.size)
        grid.inside(ones).fill_(1)
        self.missing = flat
        # Each pixel's weights add up to what is there of its neighbours.
        weight = self._sums(ones)[0] / 12 * flat  # includes 4/12 of the pixel itself
        self.center, self.twelfth = weight, flat / 12
        single = flat.float()
        self.single_center, self.single_twelfth = weight.float(), self.twelfth.float()
        self.step = torch.where(single > 0, 1 / (self.single_center - 1 / 3), 0)
        self.multigrid = Multigrid(grid, self._stencil(single), channels)
        self._rest, self._correction = (single.new_zeros(channels, grid.size) for _ in range(2))

    def inside(self, field: Tensor) -> Tensor:
        return self.grid.inside(field)

    def field(self, values: Tensor) -> Tensor:
        """Return values `[C, N, H, W]` as a flat field in 64 bits."""
        flat = values.new_zeros(self.channels, self.grid.size, dtype=torch.float64)
        self.inside(flat).copy_(values)
        return flat

    def product(self, field: Tensor) -> Tensor:
        """Return the equations times a field `[C, L]`: each missing pixel minus the mean of its neighbours."""
        center, twelfth = (
            (self.center, self.twelfth)
            if field.dtype == torch.float64
            else (self.single_center, self.single_twelfth)
        )
        return self._sums(field).mul_(twelfth).sub_(field * center).neg_()

    def preconditioned(self, residual: Tensor) -> Tensor:
        """Return an approximate solution in 32 bits for a right side in 64."""
        single = residual.float()
        found = single * self.step
        torch.sub(single, self.product(found), out=self._rest)
        found.addcmul_(
            self.multigrid.correction(self.grid, self._rest, self._correction), self.missing_single
        )
        return found.addcmul_(single - self.product(found), self.step)

    @property
    def missing_single(self) -> Tensor:
        return self._single

    def _sums(self, field: Tensor) -> Tensor:
        """Return sums with weights 1, 2, 1 along rows and columns: 12 times the means, and 4 times the pixel."""
        row = self.grid.row
        across = torch.zeros_like(field)
        torch.add(field[:, :-2], field[:, 2:], out=across[:, 1:-1])
        across[:, 1:-1].add_(field[:, 1:-1], alpha=2)
        sums = torch.zeros_like(field)
        torch.add(across[:, : -2 * row], across[:, 2 * row :], out=sums[:, row:-row])
        sums[:, row:-row].add_(across[:, row:-row], alpha=2)
        return sums

    def _stencil(self, single: Tensor) -> Tensor:
        self._single = single
        grid = self.grid
        stencil = single.new_zeros(9, grid.size)
        inner = slice(grid.row + 1, grid.size - grid.row - 1)
        for out, (down, right) in zip(stencil, OFFSETS, strict=True):
            shift = down * grid.row + right
            neighbour = single[inner.start + shift : inner.stop + shift]
            weight = -1 / 6 if down == 0 or right == 0 else -1 / 12
            out[inner] = single[inner] * neighbour * weight
        stencil[4] = self.single_center - single / 3
        return stencil


def _solved(equations: Equations, known: Tensor) -> Tensor:
    start = equations.field(known)
    residual = equations.product(start).neg_()
    solution = torch.zeros_like(residual)
    direction, energy = solution, None
    for step in range(MOST_STEPS):
        correction = equations.preconditioned(residual)
        active = _largest(equations, correction) > TOLERANCE
        if step % 1 == 0 and not active.any():
            break
        new_energy = _dot(equations, residual, correction)
        if energy is None:
            direction = correction.double()
        else:
            _by_problem(equations, direction).mul_((new_energy / energy)[:, None])
            direction.add_(correction)
        energy = new_energy
        image = equations.product(direction)
        length = torch.where(active, energy / _dot(equations, direction, image), 0)[:, None]
        _by_problem(equations, solution).addcmul_(_by_problem(equations, direction), length)
        _by_problem(equations, residual).addcmul_(_by_problem(equations, image), length, value=-1)
    _solved.steps = step
    return solution


def _by_problem(equations: Equations, field: Tensor) -> Tensor:
    return field.view(equations.channels, equations.grid.count, -1)


def _dot(equations: Equations, one: Tensor, other: Tensor) -> Tensor:
    by_channel = _by_problem(equations, one * other).sum(-1)
    total = by_channel[0]
    for each in by_channel[1:]:
        total = total + each
    return total


def _largest(equations: Equations, field: Tensor) -> Tensor:
    smallest, largest = torch.aminmax(_by_problem(equations, field), dim=-1)
    return torch.maximum(-smallest, largest).amax(0)
