"""Which attributions a figure or a report shows: methods and their order, images, trials and the step."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from analysis.attribution.attributions import INTEGRATED, VARIANCE, named_rows
from analysis.attribution.checkpoints import one_checkpoint
from analysis.html.choices import asked_for, in_order
from analysis.run import AnyRun, opened

NUM_IMAGES = 16

By = Literal["method", "checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The attributions to show: methods, images and trials, None for all.

    `by` says what the columns of a grid are. If they are methods, `checkpoints` names one, None for `trained` or
    the only one; if they are checkpoints, None stands for all. `step` is of a run along training, None for the
    last one. `num_images` is the most images that are shown if none are named.
    """

    methods: Sequence[str] | None = None
    checkpoints: Sequence[str] | None = None
    by: By = "method"
    images: Sequence[int] | None = None
    trials: Sequence[str] | None = None
    step: int | None = None
    num_images: int = NUM_IMAGES


def choose(run: AnyRun, choice: Choice) -> pd.DataFrame:
    """Return the rows to show, their `method` with its target where a method has several.

    Along training the rows are those of one step. Raises ValueError for what the run does not have.
    """
    if choice.num_images < 1:
        raise ValueError(f"num_images is {choice.num_images}: give 1 or more")
    steps = None if choice.step is None else [choice.step]
    rows = named_rows(run, methods=choice.methods, images=choice.images, trials=choice.trials, steps=steps)
    rows = _of_checkpoints(rows, choice)
    if "trial" in rows and choice.step is None:
        rows = _at_last_step(rows)
    if choice.images is None:
        # A sweep may store the images of some rows only: these come first, as a map needs its image beside it.
        stored = rows[rows["image_key"].notna()] if rows["image_key"].notna().any() else rows
        first = np.sort(stored["image_index"].unique())[: choice.num_images]
        rows = rows[rows["image_index"].isin(first)]
    return rows


def method_order(run: AnyRun, names: Iterable[str]) -> list[str]:
    """Return the methods in the order in which the sweep was asked for them; all others follow, sorted."""
    return in_order(names, asked_for(opened(run), "method"))


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that shows some of a run's attributions."""
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    parser.add_argument(
        "--checkpoints", metavar="NAMES", help="one of the run's, with --by checkpoint several; trained"
    )
    parser.add_argument(
        "--by", choices=get_args(By), default="method", help="what the columns are (%(default)s)"
    )
    parser.add_argument("--images", metavar="LIST", help="these image indices, such as 0,5,17")
    parser.add_argument("--num-images", metavar="N", type=int, default=NUM_IMAGES, help="%(default)s")
    parser.add_argument(
        "--step", metavar="N", type=int, help="of a run along training; its last unless given"
    )
    parser.add_argument("--trials", metavar="NAMES", help="of a run along training, these alone")


def parsed_choice(options: argparse.Namespace) -> Choice:
    """Return the choice that these options make. Raises ValueError for an image that is not an index."""
    listed: dict[str, Any] = {
        name: getattr(options, name).split(",") if getattr(options, name) else None
        for name in ("methods", "checkpoints", "images", "trials")
    }
    for text in listed["images"] or []:
        if not text.strip().isdecimal():
            raise ValueError(f"images: {text!r} is no index: give numbers such as 0,5,17")
    listed["images"] = None if listed["images"] is None else [int(text) for text in listed["images"]]
    return Choice(**listed, by=options.by, step=options.step, num_images=options.num_images)


def _of_checkpoints(rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Return the rows of the chosen checkpoints: of a single one where methods stand side by side."""
    named = choice.checkpoints
    if choice.by == "checkpoint" and "checkpoint" in rows:
        parts = [one_checkpoint(rows, name) for name in dict.fromkeys(named or [])]
        return pd.concat(parts) if parts else rows
    if named is not None and len(named) != 1:
        raise ValueError(f"checkpoints is {', '.join(named)}: give one, or --by checkpoint")
    return one_checkpoint(rows, named[0] if named else None)


def _at_last_step(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last step of each trial at which attributions were computed.

    A sum over training has a row at the end of each segment, whether or not attributions were asked for there.
    Such rows count only in a run that has nothing else.
    """
    computed = ~rows["method"].isin([INTEGRATED, VARIANCE])
    steps = (rows[computed] if computed.any() else rows).groupby("trial", observed=True)["step"].max()
    return rows[rows["step"] == rows["trial"].astype("str").map(steps)]
