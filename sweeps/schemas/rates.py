"""Rates and means of committed rows, such as the success of each attack at each ε, file by file as shards arrive.

These few numbers go to trackers while a sweep runs (`sweeps.notices`). Their definitions are those of `analysis`,
which has intervals and all other tables; the tests hold the two together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

# Values that are not named in the name of a number: nearly all rows of nearly all runs have them.
_USUAL = {"checkpoint": "trained", "target": "predicted"}


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A mean over the rows of each group: `values` has a number or truth a row, null if it does not count."""

    name: str
    by: tuple[str, ...]  # columns of the groups
    columns: tuple[str, ...]  # that `values` reads
    values: Callable[[pa.Table], pa.Array]


@dataclass(frozen=True)
class Point:
    """A number at an update of a training, which is a clock of its own."""

    name: str
    step: int
    value: float


class Means:
    """Sums over all rows added so far, and the means that they make."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, rows: pa.Table, rates: Sequence[Rate]) -> None:
        """Add the rows of a shard."""
        self.num_rows += len(rows)
        for rate in rates:
            groups = pa.table({name: rows[name] for name in rate.by} | {"value": _numbers(rate.values(rows))})
            found = groups.group_by(list(rate.by)).aggregate([("value", "sum"), ("value", "count")])
            for row in found.to_pylist():
                name = "/".join([rate.name, *_texts(rate.by, row)])
                self._sums[name] += row["value_sum"] or 0.0
                self._counts[name] += row["value_count"]

    def values(self) -> dict[str, float]:
        """Return the mean of each group that has rows which count, by `rate/group/group`."""
        return {name: self._sums[name] / count for name, count in self._counts.items() if count}


def rates_of(sweep: str, schema: pa.Schema) -> list[Rate]:
    """Return the rates of a sweep's rows whose columns this schema has; none for a sweep that has no such."""
    known = _RATES.get(sweep, ())
    judges = schema.field("judge_top1").type if "judge_top1" in schema.names else ()
    rates = [*known, *(_judge_rate(judge.name) for judge in judges)]
    return [rate for rate in rates if {*rate.by, *rate.columns} <= set(schema.names)]


def columns_of(sweep: str, schema: pa.Schema) -> list[str]:
    """Return the columns to read for the rates and points of a sweep."""
    needed = {name for rate in rates_of(sweep, schema) for name in (*rate.by, *rate.columns)}
    return sorted(needed | (set(_TRAINING) if sweep == "attribute_training" else set()))


def training_points(rows: pa.Table) -> Iterator[Point]:
    """Yield the mean loss over the updates of a segment, and the accuracy on the panel after the last one."""
    for trial in rows["trial"].unique().to_pylist():
        segment = rows.filter(pc.equal(rows["trial"], trial))
        last = pc.max(segment["step"]).as_py()
        losses = segment.group_by(["step"]).aggregate([("training_loss", "mean")])["training_loss_mean"]
        if (loss := pc.mean(losses).as_py()) is not None:
            yield Point(f"training_loss/{trial}", last, loss)
        state = segment.filter(pc.equal(segment["step"], last))
        right = pc.equal(state["prediction"], state["label"])
        yield Point(f"panel_accuracy/{trial}", last, pc.mean(right.cast(pa.float64())).as_py())


def _texts(by: Sequence[str], row: dict[str, object]) -> list[str]:
    texts = [(name, row[name]) for name in by]
    return [
        f"{value:.9g}" if isinstance(value, float) else str(value)
        for name, value in texts
        if value != _USUAL.get(name, "")
    ]


def _numbers(values: pa.Array) -> pa.Array:
    numbers = values.cast(pa.float64())
    return pc.if_else(pc.is_nan(numbers), None, numbers)


def _where(mask: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(pc.fill_null(mask, False), values, None)


def _seeks_minimum(rows: pa.Table) -> pa.Array:
    return pc.fill_null(rows["seeks_minimum"], False)


def _fooled(rows: pa.Table) -> pa.Array:
    """Untargeted, at an ε that was asked for: whether another class than the label is seen."""
    counts = pc.and_(pc.is_null(rows["target"]), pc.invert(_seeks_minimum(rows)))
    return _where(counts, pc.not_equal(rows["adversarial_prediction"], rows["label"]))


def _hit(rows: pa.Table) -> pa.Array:
    """Targeted: whether the target is seen, for images that are not of it."""
    counts = pc.and_(pc.not_equal(rows["target"], rows["label"]), pc.invert(_seeks_minimum(rows)))
    return _where(counts, pc.equal(rows["adversarial_prediction"], rows["target"]))


def _found(rows: pa.Table) -> pa.Array:
    """Of methods that seek the minimum ε: whether any succeeds."""
    counts = pc.and_(pc.is_null(rows["target"]), _seeks_minimum(rows))
    return _where(counts, pc.not_equal(rows["adversarial_prediction"], rows["label"]))


def _judge_rate(judge: str) -> Rate:
    def right(rows: pa.Table) -> pa.Array:
        seen = pc.equal(pc.struct_field(rows["judge_top1"], judge), rows["class_index"])
        # A judge that is the model itself took part in the optimisation.
        return _where(pc.not_equal(rows["model"], judge), seen)

    columns = ("judge_top1", "class_index", "model")
    return Rate(name=f"judge_top1/{judge}", by=("recipe",), columns=columns, values=right)


_ATTACK = ("target", "label", "adversarial_prediction", "seeks_minimum")
_AT_EPSILON = ("checkpoint", "method", "epsilon")
_TRAINING = ("trial", "step", "training_loss", "prediction", "label")
_GENERATE = (
    Rate(
        name="probability", by=("recipe",), columns=("probability",), values=lambda rows: rows["probability"]
    ),
)
_RATES: dict[str, tuple[Rate, ...]] = {
    "attack": (
        Rate(name="success_rate", by=_AT_EPSILON, columns=_ATTACK, values=_fooled),
        Rate(name="targeted_success_rate", by=_AT_EPSILON, columns=_ATTACK, values=_hit),
        Rate(name="minimum_found", by=("checkpoint", "method"), columns=_ATTACK, values=_found),
    ),
    "attribute": tuple(
        Rate(
            name=score,
            by=("checkpoint", "target", "method"),
            columns=(score,),
            values=lambda rows, score=score: rows[score],  # type: ignore[misc]
        )
        for score in ("deletion_score", "insertion_score")
    ),
    "generate": _GENERATE,
    "tune_recipe": _GENERATE,
    "modify": (
        Rate(
            name="target_reached",
            by=(),
            columns=("first_hit_step",),
            values=lambda rows: pc.is_valid(rows["first_hit_step"]),
        ),
    ),
}
