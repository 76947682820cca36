"""Numbers, times and values as a page shows them."""

import json
import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from analysis.naming import format_epsilon
from analysis.sweep_kinds import kind_title


def share(rate: float) -> str:
    """Format a rate in [0, 1] as a percentage with one decimal place."""
    return f"{100 * rate:.1f} %"


def interval(low: float, high: float) -> str:
    """Format the bounds of a rate in percent."""
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun: `1 class`, `1,000 classes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(num_bytes: float) -> str:
    """Format a number of bytes in the unit that suits it."""
    for unit in ("bytes", "KB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def number(quantity: float, digits: int) -> str:
    """Format a quantity with so many decimal places; a dash if it is not a number."""
    return "\N{EN DASH}" if math.isnan(quantity) else f"{quantity:.{digits}f}"


def value(setting: Any) -> str:
    """Format a setting of sweep.json: text as it is, everything else as JSON, `none` if it is not set."""
    if setting is None or setting == "":
        return "none"
    return setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)


def breakable(name: str) -> Markup:
    """Return a name that may be broken into lines after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


FILTERS: dict[str, Callable[..., str]] = {
    "share": share,
    "interval": interval,
    "count": count,
    "size": size,
    "number": number,
    "value": value,
    "kind": kind_title,
    "breakable": breakable,
    "epsilon": format_epsilon,
}
