"""The norm that an attack's ε is measured in, found from the distances of its images."""

import numpy as np
import pandas as pd

# From the smallest ball of a radius to the largest: ‖δ‖∞ ≤ ‖δ‖₂ ≤ ‖δ‖₁.
NORMS = ("l1", "l2", "linf")
_L = "\N{SCRIPT SMALL L}"
NAMES = {"linf": f"{_L}∞", "l2": f"{_L}₂", "l1": f"{_L}₁"}
# In which norms are reported; l∞ is the one that most attacks have.
ORDER = ("linf", "l2", "l1")
# What float32 and the tolerance of a search leave.
_SLACK = 1.001


class Norms:
    """Collects, portion by portion, the largest distance over ε of each method, in each norm."""

    def __init__(self) -> None:
        self._largest: dict[str, dict[str, float]] = {}

    def add(self, rows: pd.DataFrame) -> None:
        """Take in rows with `method`, `epsilon` and a column for each norm."""
        moved = rows[(rows["epsilon"] > 0) & (rows["linf"] > 0)]
        for norm in NORMS:
            ratios = moved[norm].astype(float).fillna(np.inf) / moved["epsilon"]
            for method, ratio in ratios.groupby(moved["method"], observed=True).max().items():
                seen = self._largest.setdefault(str(method), dict.fromkeys(NORMS, 0.0))
                seen[norm] = max(seen[norm], float(ratio))

    def joined(self, other: "Norms") -> "Norms":
        """Return the largest distances of both."""
        both = Norms()
        for method in (*self._largest, *other._largest):
            held = [each._largest[method] for each in (self, other) if method in each._largest]
            both._largest[method] = {norm: max(each[norm] for each in held) for norm in NORMS}
        return both

    def of(self, method: str) -> str | None:
        """Return the norm of a method: the smallest ball of radius ε that holds all of its perturbations.

        None for a method that leaves even the largest ball, as `max_norm_signed` may, and for one that was never
        seen to move an image. A run older than the column `l1` has no distances in it.
        """
        largest = self._largest.get(method)
        if largest is None:
            return None
        return next((norm for norm in NORMS if largest[norm] <= _SLACK), None)
