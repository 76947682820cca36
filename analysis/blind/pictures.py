"""Which pictures are named, and in which order: nothing in the order says what a picture shows."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.blind.key import KEY_COLUMNS
from analysis.drawing.pages import select
from analysis.generation.rows import load_rows
from analysis.run import Run


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which pictures of a run to show: of these classes and recipes, at most `sample`; all where None."""

    classes: Sequence[int] | None = None
    recipes: Sequence[str] | None = None
    sample: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        for field, value, least in (("sample", self.sample, 1), ("seed", self.seed, 0)):
            if value < least:
                raise ValueError(f"{field} is {value}: give a whole number, {least} or more")


def parse_classes(text: str) -> list[int]:
    """Return the class indices of `0-9,291`. Raise ValueError for anything else."""
    indices: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ValueError(f"classes has {part!r}: give indices and ranges such as 0-9,291")
        indices += range(first, last + 1)
    return sorted(set(indices))


def numbered_pictures(run: Run, choice: Choice) -> pd.DataFrame:
    """Return the pictures to name, with the columns of the key and `image_file`, in the order of their numbers.

    Raise ValueError for a class or a recipe that the run lacks.
    """
    rows = load_rows(run, ["wnid"])
    rows = rows.assign(**{name: rows[name].astype(str) for name in ("recipe", "wnid", "class_name", "model")})
    rows = rows[rows["image_key"].notna()]
    for column, values in {"class_index": choice.classes, "recipe": choice.recipes}.items():
        rows = rows if values is None else select(rows, column, values)
    if rows.empty:
        raise ValueError(
            f"{run.url} has no stored picture of these classes and recipes: there is nothing to name"
        )
    chosen = _in_one_order(_sample(rows, choice), choice.seed)
    return chosen.assign(number=range(1, len(chosen) + 1), run=run.url)[[*KEY_COLUMNS, "image_file"]]


def _sample(rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Return the pictures to show: each class once before one comes again, with the recipes taking turns.

    The classes depend on the seed alone, so that two runs of the same classes are compared on the same ones.
    """
    random = np.random.default_rng(choice.seed)
    recipes = random.permutation(sorted(rows["recipe"].unique()))
    turns = []
    for place, class_index in enumerate(random.permutation(np.sort(rows["class_index"].unique()))):
        of_class = rows[rows["class_index"] == class_index]
        shuffled = of_class.iloc[random.permutation(len(of_class))]
        # The place of each class in the round differs, so that a sample has equally many of each recipe.
        turn = (pd.Index(recipes).get_indexer(shuffled["recipe"]) - place) % len(recipes)
        again = shuffled.groupby("recipe").cumcount()
        turns.append(shuffled.assign(turn=turn + again.to_numpy() * len(recipes), place=place))
    return pd.concat(turns).sort_values(["turn", "place"]).head(choice.sample)


def _in_one_order(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the rows shuffled. The order differs from run to run: a second naming must not repeat the first's."""
    names = "\n".join(sorted(rows["image_file"].astype(str) + "/" + rows["image_key"].astype(str)))
    own = int.from_bytes(hashlib.sha256(names.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return rows.iloc[np.random.default_rng([seed, own]).permutation(len(rows))]
