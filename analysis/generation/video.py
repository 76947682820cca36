"""Frames of how generated images came to be, drawn from a run directory that stored them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import load
from analysis.drawing.pixels import Pixels
from analysis.generation.frames import frame_rows, frame_values
from analysis.generation.logit_layout import LogitLayout, LogitSubject


@dataclass(frozen=True, kw_only=True)
class GenerationChoice:
    """Whose frames are shown; None: the recipe `default` where it has any, all classes, the smallest seed.

    Each image's last frame is shown `num_last` times.
    """

    recipe: str | None = None
    classes: tuple[int, ...] | None = None
    seed: int | None = None
    num_last: int = 1

    def __post_init__(self) -> None:
        if self.num_last < 1:
            raise ValueError(f"num_last is {self.num_last}: give 1 or more")


def chosen_frames(run: str | Path, choice: GenerationChoice) -> list[pd.DataFrame]:
    """The rows of `frame_rows` of one image after another. ValueError for what has no frames."""
    rows = frame_rows(run)
    recipes = sorted(rows["recipe"].unique())
    recipe = choice.recipe or ("default" if "default" in recipes else recipes[0])
    rows = _select(rows, "recipe", recipe, "")
    seed = int(rows["seed"].min()) if choice.seed is None else choice.seed
    rows = _select(rows, "seed", seed, f" under recipe {recipe}")
    classes = sorted(rows["class_index"].unique()) if choice.classes is None else choice.classes
    where = f" under recipe {recipe}, seed {seed}"
    return [_select(rows, "class_index", index, where) for index in dict.fromkeys(classes)]


def generation_frames(run: str | Path, choice: GenerationChoice) -> Iterator[Pixels]:
    """The frames `[H, W, 3]` of one image after another, a stored step each; one image's are in memory."""
    names = _class_names(run)
    for rows in chosen_frames(run, choice):
        images, logits = frame_values(run, rows)
        layout = LogitLayout(_subject(rows, images[0], logits, names))
        for image, values, step in zip(images, logits, rows["step"], strict=True):
            frame = layout.frame(image, values, int(step))
            yield frame
        for _ in range(choice.num_last - 1):
            yield frame


def _select(rows: pd.DataFrame, column: str, value: object, where: str) -> pd.DataFrame:
    known = sorted(rows[column].unique())
    if value not in known:
        raise ValueError(
            f"{column} {value!r} has no frames{where}: choose from {', '.join(map(str, known))}; a class has "
            "them where generate_all.py was given it in --frames"
        )
    return rows[rows[column] == value].reset_index(drop=True)


def _subject(rows: pd.DataFrame, image: Pixels, logits: np.ndarray, names: dict[int, str]) -> LogitSubject:
    first = rows.iloc[0]
    target, (low, high) = int(first["class_index"]), (float(logits.min()), float(logits.max()))
    return LogitSubject(
        title=f"{names[target]}, recipe {first['recipe']}, seed {first['seed']}, {first['model']}",
        target=target,
        num_classes=logits.shape[1],
        class_names=names,
        # A network whose logits are all alike still has an axis.
        limits=(low, high) if high > low else (low - 1, high + 1),
        shape=image.shape,
        num_steps=int(first["num_steps"]),
    )


def _class_names(run: str | Path) -> dict[int, str]:
    """Index and name of the classes that the run has images of."""
    known = load.results(run, ["class_index", "class_name"]).drop_duplicates("class_index")
    return {
        index: f"{index} {name}"
        for index, name in zip(known["class_index"], known["class_name"], strict=True)
    }
