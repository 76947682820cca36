"""Noisy linear imputation without the noise: missing pixels become weighted means of their neighbours."""

import torch
from torch import Tensor

from attrib_core.attribution.scores.multigrid import Grid, Multigrid

# The largest correction of a pixel in [0, 1] that is the last one. It is made, so that what remains is a fraction
# of it, less than the rounding of 32 bits.
LAST_CORRECTION = 5e-7
MOST_STEPS = 500
# The host waits for a GPU once in so many steps. It does not wait for a CPU.
STEPS_A_LOOK = 4
CPU_NUMBERS, GPU_NUMBERS = 2**17, 2**25  # in a field that is solved for at a time


def imputed(images: Tensor, missing: Tensor) -> Tensor:
    """Return images `[N, C, H, W]` whose missing pixels `[N, H, W]` are the weighted means of their neighbours.

    Weights are 1/6 for the four nearest and 1/12 for the diagonal ones; at the border, those that are there count.
    The equations of all images are solved together, to the rounding of 32 bits: by conjugate gradients in 64 bits,
    preconditioned by multigrid. Rong et al. 2022, arXiv:2202.00449. Each image must keep a pixel.
    """
    numbers = CPU_NUMBERS if images.device.type == "cpu" else GPU_NUMBERS
    count = max(2, numbers // images[0].numel())
    starts = range(0, len(images), count)
    return torch.cat([_imputed(images[at : at + count], missing[at : at + count]) for at in starts])


def _imputed(images: Tensor, missing: Tensor) -> Tensor:
    if len(images) == 1:  # torch adds up a single row in an order of its own
        return _imputed(images.expand(2, -1, -1, -1), missing.expand(2, -1, -1))[:1]
    equations = Equations(missing, images.shape[1])
    known = images.transpose(0, 1)
    change = equations.grid.inside(equations.solved(known))
    return torch.where(missing[:, None], (known + change).to(images).transpose(0, 1), images)


class Means:
    """The difference of missing pixels from the weighted means of their neighbours, for fields of one type.

    `missing` is a flat field `[L]` of ones and zeros.
    """

    def __init__(self, grid: Grid, missing: Tensor, channels: int) -> None:
        self.row, self.twelfth = grid.row, missing / 12
        self._across, self._sums = (missing.new_zeros(channels, grid.size) for _ in range(2))
        ones = missing.new_zeros(channels, grid.size)
        grid.inside(ones).fill_(1)
        # Weights add up to what is there of the neighbours. The sums below hold the pixel itself four times.
        self.center = self._summed(ones)[0] * self.twelfth

    @property
    def diagonal(self) -> Tensor:
        """How much the difference changes with the pixel itself: `[L]`."""
        return self.center - 4 * self.twelfth

    def __call__(self, field: Tensor, out: Tensor) -> Tensor:
        """Return the differences of a field `[C, L]`, zero at known pixels, written into `out`."""
        torch.mul(field, self.center, out=out)
        return out.addcmul_(self._summed(field), self.twelfth, value=-1)

    def _summed(self, field: Tensor) -> Tensor:
        """Return sums with weights 1, 2, 1 along rows and columns."""
        across, sums, row = self._across, self._sums, self.row
        torch.add(field[:, :-2], field[:, 2:], out=across[:, 1:-1])
        across.add_(field, alpha=2)
        torch.add(across[:, : -2 * row], across[:, 2 * row :], out=sums[:, row:-row])
        sums[:, row:-row].add_(across[:, row:-row], alpha=2)
        return sums


class Equations:
    """The linear equations of the missing pixels `[N, H, W]` of N problems of C channels, and their solution."""

    def __init__(self, missing: Tensor, channels: int) -> None:
        self.grid, self.channels = Grid(*missing.shape), channels
        self.missing = self._flat(missing, torch.float32)
        self.means = Means(self.grid, self.missing.double(), channels)
        self.single_means = Means(self.grid, self.missing, channels)
        diagonal = self.single_means.diagonal
        self.step = torch.where(self.missing > 0, 1 / diagonal, 0)
        self.multigrid = Multigrid(self.grid, self._stencil(diagonal), channels)
        self._buffers = [self.missing.new_zeros(channels, self.grid.size) for _ in range(3)]

    def solved(self, images: Tensor) -> Tensor:
        """Return by how much the missing pixels of images `[C, N, H, W]` change: `[C, L]` in 64 bits."""
        start = self._flat(images, torch.float64)
        residual = self.means(start, torch.empty_like(start)).neg_()
        solution, direction, image = (torch.zeros_like(start) for _ in range(3))
        before = torch.ones(self.grid.count, dtype=start.dtype, device=start.device)
        for step in range(MOST_STEPS):
            correction = self._preconditioned(residual)
            # A problem that is solved stays as it is, however long its neighbours take.
            active = self._largest(correction) > LAST_CORRECTION
            if self._looks(step) and not active.any():
                break
            energy = self._dot(residual, correction)
            # One whose residual is 0 has no direction, and no number that could be divided by.
            self._by_problem(direction).mul_(torch.where(active, energy / before, 0)[:, None])
            direction.add_(correction)
            before = energy
            self.means(direction, image)
            length = torch.where(active, energy / self._dot(direction, image), 0)[:, None]
            self._by_problem(solution).addcmul_(self._by_problem(direction), length)
            self._by_problem(residual).addcmul_(self._by_problem(image), length, value=-1)
        return solution.add_(correction)

    def _looks(self, step: int) -> bool:
        return self.missing.device.type == "cpu" or step % STEPS_A_LOOK == 0

    def _preconditioned(self, residual: Tensor) -> Tensor:
        """Return an approximate solution in 32 bits: a Jacobi step before and after the coarse grids."""
        single, rest, correction = self._buffers
        single.copy_(residual)
        found = single * self.step
        torch.sub(single, self.single_means(found, rest), out=rest)
        found.addcmul_(self.multigrid.correct(rest, correction), self.missing)
        torch.sub(single, self.single_means(found, rest), out=rest)
        return found.addcmul_(rest, self.step)

    def _stencil(self, diagonal: Tensor) -> Tensor:
        """Return the equations' coefficients by offset, `[9, L]`."""
        missing, grid = self.missing, self.grid
        stencil = missing.new_zeros(9, grid.size)
        inner = slice(grid.row + 1, grid.size - grid.row - 1)
        for out, shift in zip(stencil, grid.shifts, strict=True):
            is_near = shift in (-grid.row, -1, 1, grid.row)
            neighbour = missing[inner.start + shift : inner.stop + shift]
            out[inner] = missing[inner] * neighbour * (-1 / 6 if is_near else -1 / 12)
        stencil[4] = diagonal
        return stencil

    def _flat(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return values `[..., N, H, W]` as a flat field."""
        flat = values.new_zeros(*values.shape[:-3], self.grid.size, dtype=dtype)
        self.grid.inside(flat).copy_(values)
        return flat

    def _by_problem(self, field: Tensor) -> Tensor:
        return field.view(self.channels, self.grid.count, -1)

    def _dot(self, one: Tensor, other: Tensor) -> Tensor:
        """Return inner products by problem: `[N]`."""
        first, *others = self._by_problem(one * other).sum(-1).unbind(0)
        for each in others:
            first = first + each
        return first

    def _largest(self, field: Tensor) -> Tensor:
        """Return the largest |value| by problem: `[N]`."""
        smallest, largest = torch.aminmax(self._by_problem(field), dim=-1)
        return torch.maximum(-smallest, largest).amax(0)
