"""Signs of masked gradients, under which an attack's success rate flatters the network: tables and warnings.

python -m analysis.attacks.masked_gradients RUN --output DIR

Two signs count (Athalye et al. 2018, arXiv:1802.00420): the gradient of cross-entropy is exactly zero for more
than one in a hundred images, or many steps mislead no more images than one step that is as long as all of them.
"""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attacks.rows import COLUMNS, Sums, attack_names, initially_correct, is_minimum, row_portions
from analysis.command_line import exit_status, figure_parser, save_table
from analysis.naming import format_epsilon

# A share of images above which vanished gradients are worth a warning.
MOST_VANISHED = 0.01
ONE_STEP, MANY_STEPS = "fgsm", ("bim", "pgd")
# Standard deviations by which many steps must mislead fewer images (McNemar 1947): chance does so in one of 700.
SURELY_FEWER = 3.0
# Where one step misleads this share and leaves so many images, many steps always help a network whose gradients
# are not masked. At a smaller ε the two may well be equal.
NOTABLE_SUCCESS, MANY_IMAGES = 0.2, 100

# Letters of a note in a narrow figure.
_NOTE_WIDTH = 100

BY = ("checkpoint", "attack", "epsilon")
_FACTS = ("images", "vanished", "zero_gradient", "gradient_fallback")
_Pair = tuple[str, str, float]  # checkpoint, method and ε of an attack

# What `_outcomes` says of an image.
_LEFT, _MISLED = 1, 2


def gradient_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return by `checkpoint` and `attack` how many images had a gradient that is exactly zero.

    Of the `images` that were right to begin with, `zero_gradient` had such a gradient of cross-entropy at the
    clean image, for `gradient_fallback` the margin's was followed instead, and `vanished` had either: a `share`
    of them, at the ε where it is largest. The rows of a minimum attack are taken together.
    """
    return gradient_rates(gradient_counts(frame))


def gradient_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the counts behind `gradient_table`. Counts of parts of the rows add up by `BY`."""
    right = initially_correct(frame)
    zero, fallback = frame["zero_gradient"].astype(bool), followed_fallback(frame)
    facts = {
        "images": right,
        "vanished": zero | fallback,
        "zero_gradient": zero,
        "gradient_fallback": fallback,
    }
    counts = pd.DataFrame({name: (fact & right).astype("int64") for name, fact in facts.items()})
    counts = counts.assign(
        checkpoint=frame["checkpoint"],
        attack=attack_names(frame),
        epsilon=frame["epsilon"].mask(is_minimum(frame)),
    )
    return counts.groupby(list(BY), observed=True, dropna=False).sum().reset_index()


def gradient_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the table of `gradient_table` from counts, which may be sums over parts of the rows."""
    counts = counts.assign(
        share=(counts["vanished"] / counts["images"].where(counts["images"] > 0)).fillna(0.0)
    )
    # Of equal shares the largest ε comes first: without a step there is nothing to follow.
    counts = counts.sort_values(["share", "epsilon"], ascending=False, kind="stable")
    table = counts.drop_duplicates(["checkpoint", "attack"]).sort_values(["checkpoint", "attack"])
    return table[["checkpoint", "attack", *_FACTS, "share"]].reset_index(drop=True)


def followed_fallback(frame: pd.DataFrame) -> pd.Series:
    """Return for which rows the margin's gradient was followed; for none of an older run directory."""
    if "gradient_fallback" not in frame:
        return pd.Series(False, index=frame.index)
    return frame["gradient_fallback"].eq(True)  # a missing value is no fallback


@dataclass
class Outcomes:
    """What untargeted attacks by one step and by many did to each image that was right to begin with.

    One byte an image, attack and ε, so that the rows may come portion by portion.
    """

    _found: dict[_Pair, NDArray[np.uint8]] = field(default_factory=dict)

    def add(self, frame: pd.DataFrame) -> None:
        """Take in some rows."""
        compared = [name for name in frame["method"].unique() if name == ONE_STEP or _has_many_steps(name)]
        wanted = frame["method"].isin(compared) & frame["target"].isna() & (frame["epsilon"] > 0)
        rows = frame[wanted & initially_correct(frame)]
        for pair, part in rows.groupby(["checkpoint", "method", "epsilon"], observed=True):
            misled = part["adversarial_prediction"] != part["label"]
            self._note(pair, part["image_index"].to_numpy(), misled.to_numpy())

    def _note(self, pair: _Pair, indices: NDArray[np.int64], misled: NDArray[np.bool_]) -> None:
        found = _padded(self._found.get(pair, np.zeros(0, np.uint8)), int(indices.max()) + 1)
        found[indices] = np.where(misled, _MISLED, _LEFT)
        self._found[pair] = found

    def table(self) -> pd.DataFrame:
        """Return by `checkpoint`, `attack` of many steps and `epsilon` how it compares with one step.

        Of the `images` that both attacked: one step misleads `one_step`, many steps `many_steps`; `gained` are
        misled by many steps alone, `lost` by one step alone. `helps` is false where that is a sign of masked
        gradients.
        """
        rows = [
            {"checkpoint": checkpoint, "attack": method, "epsilon": epsilon}
            | _compare(self._found[checkpoint, ONE_STEP, epsilon], many)
            for (checkpoint, method, epsilon), many in sorted(self._found.items())
            if method != ONE_STEP and (checkpoint, ONE_STEP, epsilon) in self._found
        ]
        columns = ["checkpoint", "attack", "epsilon", "images", "one_step", "many_steps", "gained", "lost"]
        table = pd.DataFrame(rows, columns=columns)
        return table.assign(helps=[more_steps_help(row) for row in rows])


def _has_many_steps(method: str) -> bool:
    """Return True for a method of `MANY_STEPS`, also under settings of its own: `pgd:num_steps=40`."""
    return method.partition(":")[0] in MANY_STEPS


def _padded(found: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.pad(found, (0, max(0, size - len(found))))


def _compare(one: NDArray[np.uint8], many: NDArray[np.uint8]) -> dict[str, int]:
    size = max(len(one), len(many))
    one, many = _padded(one, size), _padded(many, size)
    both = (one > 0) & (many > 0)
    one_misled, many_misled = (one == _MISLED) & both, (many == _MISLED) & both
    facts = {
        "images": both,
        "one_step": one_misled,
        "many_steps": many_misled,
        "gained": many_misled & ~one_misled,
        "lost": one_misled & ~many_misled,
    }
    return {name: int(fact.sum()) for name, fact in facts.items()}


def more_steps_help(row: Mapping[str, int]) -> bool:
    """Return False where the paired counts of an ε show that many steps mislead fewer images, or no more.

    Fewer: by more than chance does. No more: where one step misleads a notable share and leaves many images.
    """
    gained, lost, left = row["gained"], row["lost"], row["images"] - row["one_step"]
    surely_fewer = lost - gained > SURELY_FEWER * np.sqrt(lost + gained)
    notable = row["one_step"] >= NOTABLE_SUCCESS * row["images"] and left >= MANY_IMAGES
    return not (surely_fewer or (notable and gained <= lost))


class Signs:
    """The signs of masked gradients in the rows of a run, counted portion by portion."""

    def __init__(self) -> None:
        self._counts, self._outcomes = Sums(BY), Outcomes()

    def add(self, frame: pd.DataFrame) -> None:
        """Take in some rows."""
        self._counts.add(gradient_counts(frame))
        self._outcomes.add(frame)

    def gradients(self) -> pd.DataFrame:
        """Return the table of `gradient_table`."""
        return gradient_rates(self._counts.total())

    def steps(self) -> pd.DataFrame:
        """Return the table of `Outcomes.table`."""
        return self._outcomes.table()

    def warnings(self) -> list[str]:
        """Return a sentence for each sign, which the report and the figures show; none for a healthy network."""
        return [*vanished_warnings(self.gradients()), *step_warnings(self.steps())]


def vanished_warnings(table: pd.DataFrame) -> list[str]:
    """Return a warning for each checkpoint with rows of `gradient_table` above `MOST_VANISHED`."""
    above = table[table["share"] > MOST_VANISHED]
    return [_vanished(str(name), rows) for name, rows in above.groupby("checkpoint", observed=True)]


def _vanished(checkpoint: str, rows: pd.DataFrame) -> str:
    attacks = ", ".join(rows["attack"].astype(str))
    followed = (rows["gradient_fallback"] / rows["images"]).max()
    return (
        f"Masked gradients, {checkpoint}: the gradient of cross-entropy is exactly zero for up to "
        f"{rows['share'].max():.1%} of the images that were right to begin with ({attacks}). The gradient of "
        f"the logits' margin was followed instead for up to {followed:.1%}; without one an image stays as it is, "
        "which says nothing about robustness."
    )


def step_warnings(table: pd.DataFrame) -> list[str]:
    """Return a warning for each checkpoint and attack with rows of `Outcomes.table` where steps do not help."""
    worse = table[~table["helps"].astype(bool)]
    return [
        f"Masked gradients, {checkpoint}: the steps of {attack} mislead no more images than the one step of "
        f"{ONE_STEP} at ε = {', '.join(map(format_epsilon, rows['epsilon']))}, though it leaves some. Steps that "
        "are too few or too small, and a linear network, look like this too."
        for (checkpoint, attack), rows in worse.groupby(["checkpoint", "attack"], observed=True)
    ]


def as_notes(warnings: Sequence[str]) -> list[str]:
    """Return warnings in lines as short as the notes of a figure."""
    return [line for warning in warnings for line in textwrap.wrap(warning, _NOTE_WIDTH)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser(
        "python -m analysis.attacks.masked_gradients", "Signs that an attack failed for want of a gradient."
    )
    options = parser.parse_args(arguments)
    signs = Signs()
    for portion in row_portions(options.run, COLUMNS):
        signs.add(portion)
    for name, table in {"vanished-gradients": signs.gradients(), "more-steps": signs.steps()}.items():
        for path in save_table(table, options.output, name):
            print(path)
    for line in signs.warnings() or ["no sign of masked gradients"]:
        print(line)


if __name__ == "__main__":
    sys.exit(exit_status(main))
