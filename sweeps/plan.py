"""Axes to shards: lazily, with ids that depend on nothing but a shard's content, and room to grow.

A sweep is a set of cells: one product of its axes, or several (methods that seek a minimum have no ε of the grid).
A run directory records the blocks of cells that were asked for; asking for more adds blocks that hold only the
cells that are new (the difference of two products is a few disjoint products), so nothing is ever planned twice.

`sweeps.schemas.axis_kinds` says what the three kinds of axes mean to a shard. Points of the cell axes are in the
order of their product, the last axis fastest.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sweeps.schemas.axis_kinds import AxisKinds
from sweeps.store.image_failures import next_shard_id

Value = int | float | str
Axes = dict[str, tuple[Value, ...]]
IMAGE_AXIS = "image_index"
Kind = TypeVar("Kind", int, float, str)


@dataclass(frozen=True)
class Shard:
    """A unit of work: the values of group and whole axes, and the cells as tuples in the cell axes' order.

    A job turns it into a dataclass of its own, by the methods below, so that the types are checked once.
    """

    id: str
    axes: Mapping[str, Value | tuple[Value, ...]]
    cells: tuple[tuple[Value, ...], ...]

    def value(self, axis: str, kind: type[Kind]) -> Kind:
        """Return the one value of a group axis."""
        value = self.axes[axis]
        assert isinstance(value, kind), f"{axis}: {value!r} is no {kind.__name__}"
        return value

    def values(self, axis: str, kind: type[Kind]) -> tuple[Kind, ...]:
        """Return all values of a whole axis."""
        values = self.axes[axis]
        assert isinstance(values, tuple), f"{axis}: {values!r} is one value"
        return tuple(_checked(values, kind))

    def points(self) -> list[tuple[int, ...]]:
        """Return the cells of a sweep whose cell axes all count something, such as seeds and classes."""
        return [tuple(_checked(cell, int)) for cell in self.cells]

    def indices(self) -> tuple[int, ...]:
        """Return the cells of a sweep that has one such axis, as plain numbers."""
        return tuple(index for (index,) in self.points())


def _checked(values: Iterable[Value], kind: type[Kind]) -> Iterator[Kind]:
    for value in values:
        assert isinstance(value, kind), f"{value!r} is no {kind.__name__}"
        yield value


@dataclass(frozen=True)
class Block:
    """A product of axes, cut into shards of `shard_size` cells."""

    axes: Axes
    shard_size: int

    def num_cells(self) -> int:
        """Return the number of cells in the product of all axes."""
        return math.prod(len(values) for values in self.axes.values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All blocks of a run directory; `fingerprint` stands for everything that shapes a row but is no axis."""

    fingerprint: str
    kinds: AxisKinds
    blocks: tuple[Block, ...] = field(default=())

    def grow(self, requested: Axes, shard_size: int) -> "Plan":
        """Return this plan with blocks added for the requested cells that it lacks."""
        missing = [requested]
        for block in self.blocks:
            missing = [rest for product in missing for rest in subtract(product, block.axes)]
        added = tuple(Block(product, shard_size) for product in missing)
        return Plan(fingerprint=self.fingerprint, kinds=self.kinds, blocks=self.blocks + added)

    def shards(self, requested: Sequence[Axes] | None = None) -> Iterator[Shard]:
        """Yield the shards in order; with `requested` products, those that hold at least one of their cells."""
        for block in self.blocks:
            if _is_whole(block, requested):
                yield from self._shards_of(block)
            else:
                yield from self._requested_shards(block, requested)

    def num_shards(self, requested: Sequence[Axes] | None = None) -> int:
        """Return how many shards `shards` yields, without making those of a block that is requested whole."""
        return sum(self._count(block, requested) for block in self.blocks)

    def shard_after(self, shard: Shard, failed_images: Container[int]) -> Shard:
        """Return the shard that tries again, alone, those cells of a committed one whose images failed there."""
        image = self.kinds.cells.index(IMAGE_AXIS)
        cells = tuple(cell for cell in shard.cells if cell[image] in failed_images)
        return Shard(next_shard_id(shard.id), shard.axes, cells)

    def image_indices(self, shard: Shard) -> frozenset[Value]:
        """Return the images of a shard whose cells are images."""
        image = self.kinds.cells.index(IMAGE_AXIS)
        return frozenset(cell[image] for cell in shard.cells)

    def holds_requested(self, shard: Shard, requested: Sequence[Axes]) -> bool:
        """Return whether at least one cell of the shard is in the requested products."""
        return any(self._holds_cell_of(product, shard) for product in requested)

    def num_cells(self) -> int:
        """Return the number of cells in all blocks."""
        return sum(block.num_cells() for block in self.blocks)

    def _count(self, block: Block, requested: Sequence[Axes] | None) -> int:
        if _is_whole(block, requested):
            groups = math.prod(len(block.axes[axis]) for axis in self.kinds.group)
            cells = math.prod(len(block.axes[axis]) for axis in self.kinds.cells)
            return groups * math.ceil(cells / block.shard_size)
        return sum(1 for _ in self._requested_shards(block, requested))

    def _requested_shards(self, block: Block, requested: Sequence[Axes] | None) -> Iterator[Shard]:
        # Without a common cell the block's shards, perhaps millions, need not be made at all.
        overlapping = [product for product in requested or () if _overlap(product, block.axes)]
        if overlapping:
            for shard in self._shards_of(block):
                if any(self._holds_cell_of(product, shard) for product in overlapping):
                    yield shard

    def _shards_of(self, block: Block) -> Iterator[Shard]:
        whole = {axis: block.axes[axis] for axis in self.kinds.whole}
        for group in itertools.product(*(block.axes[axis] for axis in self.kinds.group)):
            axes = dict(zip(self.kinds.group, group, strict=True)) | whole
            points = itertools.product(*(block.axes[axis] for axis in self.kinds.cells))
            while cells := tuple(itertools.islice(points, block.shard_size)):
                yield Shard(self._shard_id(axes, cells), axes, cells)

    def _holds_cell_of(self, product: Axes, shard: Shard) -> bool:
        # Whole axes need no look: the product overlaps the block, and a shard has all of the block's values.
        if any(shard.axes[axis] not in product[axis] for axis in self.kinds.group):
            return False
        requested = [frozenset(product[axis]) for axis in self.kinds.cells]
        return any(
            all(value in axis for value, axis in zip(cell, requested, strict=True)) for cell in shard.cells
        )

    def _shard_id(self, axes: Mapping[str, Any], cells: tuple[tuple[Value, ...], ...]) -> str:
        # A short label for people to read, and a digest of all that the shard is, which makes the id unique.
        implied = self.kinds.later
        axes = {axis: value for axis, value in axes.items() if implied.get(axis) != value}
        digest = hashlib.sha256(json.dumps([self.fingerprint, axes, cells], sort_keys=True).encode())
        words = [str(axes[axis]) for axis in self.kinds.group if axis in axes]
        for position, axis in enumerate(self.kinds.cells):
            values = [cell[position] for cell in cells]
            low, high = min(values), max(values)
            words.append(f"{axis.removesuffix('_index')}{low}" + (f"_{high}" if high != low else ""))
        label = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)[:100]
        label = label.lstrip("._")  # readers of a folder skip such files
        return f"{label}-{digest.hexdigest()[:12]}"


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return a digest of the settings that shape a row, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def subtract(product: Axes, taken: Axes) -> list[Axes]:
    """Return the cells of a product that are not in `taken`, as disjoint products (at most one per axis).

    A cell is outside `taken` if at least one of its values is. The cells are sorted by the first axis on which
    that is so: with axes a and b, `{a: 1-3, b: 1-3}` minus `{a: 1-2, b: 1-2}` is `{a: 3, b: 1-3}` and
    `{a: 1-2, b: 3}`.
    """
    if not _overlap(product, taken):
        return [product]
    rest: list[Axes] = []
    shared: Axes = {}
    for axis, values in product.items():
        old = frozenset(taken[axis])
        new = tuple(value for value in values if value not in old)
        if new:
            # On the axes before this one only what both share, on those after it everything.
            rest.append({**product, **shared, axis: new})
        shared[axis] = tuple(value for value in values if value in old)
    return rest


def _is_whole(block: Block, requested: Sequence[Axes] | None) -> bool:
    """Return True if all of the block is requested; False also where only its shards could tell.

    Several products together may cover a block that none of them covers alone.
    """
    return requested is None or any(_covers(product, block.axes) for product in requested)


def _overlap(first: Axes, second: Axes) -> bool:
    """Return True if two products have a cell in common."""
    return all(not frozenset(first[axis]).isdisjoint(second[axis]) for axis in second)


def _covers(outer: Axes, inner: Axes) -> bool:
    """Return True if all cells of `inner` are in `outer`."""
    return all(frozenset(outer[axis]).issuperset(values) for axis, values in inner.items())
