"""Axes to shards: lazily, with ids that depend on nothing but a shard's content, and room to grow.

A sweep is a set of cells: one product of its axes, or several (methods that seek a minimum have no ε of the grid).
A run directory records the blocks of cells that were asked for; asking for more adds blocks that hold only the
cells that are new (the difference of two products is a few disjoint products), so nothing is ever planned twice.

Axes come in three kinds. A shard has one value of each *group* axis; it holds `shard_size` points of the
product of the *cell* axes, flattened with the last axis fastest; and it holds all of a block's values of each
*whole* axis (one gradient serves every ε).
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.schemas.axis_kinds import AxisKinds

Value = int | float | str
Axes = dict[str, tuple[Value, ...]]


@dataclass(frozen=True)
class Shard:
    """A unit of work: the values of group and whole axes, and the cells as tuples in the cell axes' order."""

    id: str
    axes: dict[str, Any]
    cells: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Block:
    """A product of axes, cut into shards of `shard_size` cells."""

    axes: Axes
    shard_size: int

    def num_cells(self) -> int:
        """Cells in the product of all axes."""
        return math.prod(len(values) for values in self.axes.values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All blocks of a run directory; `fingerprint` stands for everything that shapes a row but is no axis."""

    fingerprint: str
    kinds: AxisKinds
    blocks: tuple[Block, ...] = field(default=())

    def grow(self, requested: Axes, shard_size: int) -> "Plan":
        """This plan with blocks added for the requested cells that it lacks."""
        boxes = [requested]
        for block in self.blocks:
            boxes = [rest for box in boxes for rest in subtract(box, block.axes)]
        added = tuple(Block(box, shard_size) for box in boxes)
        return Plan(fingerprint=self.fingerprint, kinds=self.kinds, blocks=self.blocks + added)

    def shards(self, requested: Sequence[Axes] | None = None) -> Iterator[Shard]:
        """The shards in order; with `requested`, those that hold at least one requested cell."""
        for block in self.blocks:
            if _is_whole(block, requested):
                yield from self._shards_of(block)
            else:
                yield from self._touched(block, requested)

    def num_shards(self, requested: Sequence[Axes] | None = None) -> int:
        """How many shards `shards` yields, without making them where a block is wanted whole."""
        return sum(self._count(block, requested) for block in self.blocks)

    def num_cells(self) -> int:
        """Cells in all blocks."""
        return sum(block.num_cells() for block in self.blocks)

    def _count(self, block: Block, requested: Sequence[Axes] | None) -> int:
        if _is_whole(block, requested):
            groups = math.prod(len(block.axes[axis]) for axis in self.kinds.group)
            cells = math.prod(len(block.axes[axis]) for axis in self.kinds.cells)
            return groups * math.ceil(cells / block.shard_size)
        return sum(1 for _ in self._touched(block, requested))

    def _touched(self, block: Block, requested: Sequence[Axes] | None) -> Iterator[Shard]:
        boxes = [box for box in requested or () if _meets(box, block.axes)]
        if boxes:
            for shard in self._shards_of(block):
                if any(self._touches(shard, box) for box in boxes):
                    yield shard

    def _shards_of(self, block: Block) -> Iterator[Shard]:
        whole = {axis: block.axes[axis] for axis in self.kinds.whole}
        for group in itertools.product(*(block.axes[axis] for axis in self.kinds.group)):
            axes = dict(zip(self.kinds.group, group, strict=True)) | whole
            points = itertools.product(*(block.axes[axis] for axis in self.kinds.cells))
            while cells := tuple(itertools.islice(points, block.shard_size)):
                yield Shard(self._shard_id(axes, cells), axes, cells)

    def _touches(self, shard: Shard, requested: Axes) -> bool:
        if any(shard.axes[axis] not in requested[axis] for axis in self.kinds.group):
            return False
        wanted = [frozenset(requested[axis]) for axis in self.kinds.cells]
        return any(
            all(value in axis for value, axis in zip(cell, wanted, strict=True)) for cell in shard.cells
        )

    def _shard_id(self, axes: Mapping[str, Any], cells: tuple[tuple[Value, ...], ...]) -> str:
        digest = hashlib.sha256(json.dumps([self.fingerprint, axes, cells], sort_keys=True).encode())
        words = [str(axes[axis]) for axis in self.kinds.group]
        for position, axis in enumerate(self.kinds.cells):
            values = [cell[position] for cell in cells]
            low, high = min(values), max(values)
            words.append(f"{axis.removesuffix('_index')}{low}" + (f"_{high}" if high != low else ""))
        label = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)[:100]
        label = label.lstrip("._")  # readers of a folder skip such files
        return f"{label}-{digest.hexdigest()[:12]}"


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A digest of the settings that shape a row; the same settings in another order have the same digest."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def subtract(box: Axes, taken: Axes) -> list[Axes]:
    """The cells of `box` that are not in `taken`, as disjoint products (at most one per axis)."""
    if not _meets(box, taken):
        return [box]
    rest: list[Axes] = []
    common: Axes = {}
    for axis, values in box.items():
        old = frozenset(taken[axis])
        fresh = tuple(value for value in values if value not in old)
        if fresh:
            # Earlier axes keep to what both share, later ones stay whole: no cell falls into two boxes.
            rest.append({**box, **common, axis: fresh})
        common[axis] = tuple(value for value in values if value in old)
    return rest


def _is_whole(block: Block, requested: Sequence[Axes] | None) -> bool:
    """Whether all of the block is wanted, as far as can be told without making its shards."""
    return requested is None or any(_covers(box, block.axes) for box in requested)


def _meets(first: Axes, second: Axes) -> bool:
    return all(not frozenset(first[axis]).isdisjoint(second[axis]) for axis in second)


def _covers(outer: Axes, inner: Axes) -> bool:
    return all(frozenset(outer[axis]).issuperset(values) for axis, values in inner.items())
