"""Values of rows as a page shows them."""

from collections.abc import Sequence
from typing import Any

from analysis.naming import format_epsilon
from analysis.serve.columns import Column

MISSING = "\N{EN DASH}"

# Columns whose numbers are classes of the run's model.
CLASSES = (
    "label",
    "target",
    "class_index",
    "prediction",
    "initial_prediction",
    "clean_prediction",
    "adversarial_prediction",
    "prediction_u8",
    "explained_class",
    "top1",
)


def shown(name: str, value: Any, class_names: Sequence[str] = ()) -> str:
    """Return a value of a column in words: a class by index and name, ε in 8-bit steps, null as a dash."""
    if value is None or value != value:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "epsilon":
        return format_epsilon(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    # The targets of attributions are words, such as `predicted`.
    if name in CLASSES and isinstance(value, int) and 0 <= value < len(class_names):
        return f"{value} {class_names[value]}"
    return str(value)


def is_figure(column: Column, class_names: Sequence[str] = ()) -> bool:
    """Return whether values are shown as numbers, which stand below each other by their last digit."""
    return column.is_number and not (column.name in CLASSES and class_names)
