"""One multigrid cycle for averages over neighbours on many masks: the preconditioner of `imputation`.

Each of N problems lives on the pixels of one mask, which its C channels share. Fields `[C, N * Hp * Wp]` are flat:
images with a border of zeros, one after the other, so that a neighbour of all pixels is one shifted slice. Each
operation rounds each number by itself, so a problem's result has the same bits in every batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 8  # the side of the coarsest grid; conjugate gradients do what is left
DAMPING = 0.9  # of Jacobi's steps on coarse grids
OFFSETS = tuple(product((-1, 0, 1), repeat=2))  # of rows and columns


@dataclass(frozen=True)
class Grid:
    """The shape of N padded problems of `height` × `width` points."""

    count: int
    height: int
    width: int

    @property
    def row(self) -> int:
        """The distance of two rows in a flat field."""
        return self.width + 2

    @property
    def size(self) -> int:
        """The length of a flat field."""
        return self.count * (self.height + 2) * self.row

    @property
    def shifts(self) -> list[int]:
        """How far the neighbours at `OFFSETS` are away in a flat field."""
        return [down * self.row + right for down, right in OFFSETS]

    @property
    def coarser(self) -> "Grid":
        """The grid of every other point, and of one beyond the border where the side is even."""
        return Grid(self.count, self.height // 2 + 1, self.width // 2 + 1)

    def padded(self, field: Tensor) -> Tensor:
        """Return a view `[..., N, Hp, Wp]` of flat fields."""
        return field.view(*field.shape[:-1], self.count, self.height + 2, self.row)

    def inside(self, field: Tensor) -> Tensor:
        """Return a view `[..., N, H, W]` of flat fields."""
        return self.padded(field)[..., 1:-1, 1:-1]


class Level:
    """A coarse grid, its equations by offset `[9, L]`, and the buffers of its fields `[C, L]`."""

    def __init__(self, grid: Grid, stencil: Tensor, channels: int) -> None:
        self.grid = grid
        self.center = stencil[4]
        # A point whose fine pixels are all known has no equation.
        self.step = torch.where(self.center > 0, DAMPING / self.center, 0)
        self.right_side, self.solution, self.rest = (stencil.new_zeros(channels, grid.size) for _ in range(3))
        inner = slice(grid.row + 1, grid.size - grid.row - 1)
        self._inner_rest = self.rest[:, inner]
        self._terms = [
            (coefficients[inner], self.solution[:, inner.start + shift : inner.stop + shift])
            for coefficients, shift in zip(stencil, grid.shifts, strict=True)
            if shift
        ]

    def start(self) -> None:
        """Take a Jacobi step from zero."""
        torch.mul(self.right_side, self.step, out=self.solution)

    def smooth(self) -> None:
        """Take a Jacobi step."""
        self.solution.addcmul_(self.residual(), self.step)

    def residual(self) -> Tensor:
        """Return right side - equations * solution."""
        torch.addcmul(self.right_side, self.solution, self.center, value=-1, out=self.rest)
        for coefficients, neighbour in self._terms:
            self._inner_rest.addcmul_(coefficients, neighbour, value=-1)
        return self.rest


class Multigrid:
    """The correction of a fine residual by coarser grids: on each, a Jacobi step before and after the next one's.

    Equations of coarse grids are Galerkin's for bilinear interpolation of fields that are zero at known pixels.
    """

    def __init__(self, fine: Grid, stencil: Tensor, channels: int) -> None:
        self.fine, self.levels = fine, list[Level]()
        grid = fine
        while max(grid.height, grid.width) > SMALLEST:
            stencil = coarse_stencil(grid, stencil)
            grid = grid.coarser
            self.levels.append(Level(grid, stencil, channels))

    def correct(self, residual: Tensor, out: Tensor) -> Tensor:
        """Return the correction for a residual `[C, L]` of the fine grid; it is written into `out`."""
        grid = self.fine
        for level in self.levels:
            restrict(grid, residual, level.grid, level.right_side)
            level.start()
            residual, grid = level.residual(), level.grid
        for level, finer in zip(self.levels[:0:-1], self.levels[-2::-1], strict=True):
            level.smooth()
            finer.solution.add_(interpolate(level.grid, level.solution, finer.grid, finer.rest))
        if self.levels:
            coarse = self.levels[0]
            coarse.smooth()
            interpolate(coarse.grid, coarse.solution, self.fine, out)
        return out


def restrict(fine: Grid, field: Tensor, coarse: Grid, out: Tensor) -> None:
    """Write the transpose of `interpolate` of a field `[C, L]` into the coarse `out`."""
    rows = _gathered(fine.padded(field), coarse.height)
    coarse.inside(out).copy_(_gathered(rows.transpose(-1, -2), coarse.width).transpose(-1, -2))


def _gathered(field: Tensor, count: int) -> Tensor:
    """Return each even line plus half of its neighbours, along the second last dimension of a padded field."""
    others = field[..., ::2, :]
    lines = field[..., 1::2, :] + others[..., :count, :] * 0.5
    after = others[..., 1 : count + 1, :]
    lines[..., : after.shape[-2], :].add_(after, alpha=0.5)
    return lines


def interpolate(coarse: Grid, field: Tensor, fine: Grid, out: Tensor) -> Tensor:
    """Return a coarse field, bilinearly interpolated into the fine `out` `[C, L]`."""
    values = coarse.inside(field)
    rows = values.new_empty(*values.shape[:-1], fine.width)
    _spread(values.transpose(-1, -2), rows.transpose(-1, -2))
    _spread(rows, fine.inside(out))
    return out


def _spread(field: Tensor, out: Tensor) -> None:
    count = out.shape[-2]
    out[..., ::2, :] = field[..., : (count + 1) // 2, :]
    between = out[..., 1::2, :]
    torch.add(field[..., : count // 2, :], field[..., 1 : count // 2 + 1, :], out=between)
    between.mul_(0.5)


def coarse_stencil(fine: Grid, stencil: Tensor) -> Tensor:
    """Return Galerkin's equations `[9, L]` on the coarser grid."""
    coarse = fine.coarser
    padded = fine.padded(stencil.view(3, 3, -1))  # [3, 3, N, Hp, Wp]
    padded = F.pad(padded, (0, 1 - fine.width % 2, 0, 1 - fine.height % 2))
    by_row = _galerkin(padded.unbind(0))  # three of [3, N, Hc, Wp']
    columns = [_galerkin(part.transpose(-1, -2).unbind(0)) for part in by_row]
    found = torch.stack([each.transpose(-1, -2) for part in columns for each in part])
    out = stencil.new_zeros(9, coarse.size)
    coarse.inside(out).copy_(found)
    return out


def _galerkin(stencil: Sequence[Tensor]) -> list[Tensor]:
    """Return three coarse coefficients from those of the line before, the same and the line after.

    Interpolation has the weights 1/2, 1, 1/2; lines are along the second last dimension.
    """
    before, at, after = (
        [each[..., start::2, :][..., : each.shape[-2] // 2, :] for each in stencil] for start in range(3)
    )
    same = (before[2] + after[0] + at[0] + at[2]) * 0.5 + (before[1] + after[1]) * 0.25 + at[1]
    return [
        (before[0] + at[0]) * 0.5 + before[1] * 0.25,
        same,
        (after[2] + at[2]) * 0.5 + after[1] * 0.25,
    ]
