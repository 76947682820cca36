"""The video of a generation: frames of how images came to be, drawn from a run that stored them.

`python -m analysis.video` writes the frames to a file; `html` writes the video of a report.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.drawing.pixels import Pixels
from analysis.generation.frames import frame_rows, frame_values
from analysis.generation.logit_layout import LogitLayout, LogitSubject
from analysis.html.site import Site
from analysis.html.videos import write_video
from analysis.run import AnyRun, Run, opened

# A report's video takes half a minute at most.
MOST_FRAMES = 300
FRAMES_PER_SECOND = 10


@dataclass(frozen=True, kw_only=True)
class GenerationChoice:
    """Which images a video shows; None: the recipe `default` if it has frames, all classes, the smallest seed.

    Each image's last frame is shown `num_last` times.
    """

    recipe: str | None = None
    classes: tuple[int, ...] | None = None
    seed: int | None = None
    num_last: int = 1

    def __post_init__(self) -> None:
        if self.num_last < 1:
            raise ValueError(f"num_last is {self.num_last}: give 1 or more")


def chosen_frames(run: AnyRun, choice: GenerationChoice) -> list[pd.DataFrame]:
    """Return the rows of `frame_rows` of one image after another. Raise ValueError for what has no frames."""
    rows = frame_rows(run)
    recipes = sorted(rows["recipe"].unique())
    recipe = choice.recipe or ("default" if "default" in recipes else recipes[0])
    rows = _select(rows, "recipe", recipe, "")
    seed = int(rows["seed"].min()) if choice.seed is None else choice.seed
    rows = _select(rows, "seed", seed, f" under recipe {recipe}")
    classes = sorted(rows["class_index"].unique()) if choice.classes is None else choice.classes
    where = f" under recipe {recipe}, seed {seed}"
    return [_select(rows, "class_index", index, where) for index in dict.fromkeys(classes)]


def generation_frames(run: AnyRun, choice: GenerationChoice) -> Iterator[Pixels]:
    """Yield the frames `[H, W, 3]` of one image after another, one per stored step.

    The stored images of one class at a time are in memory.
    """
    run = opened(run)
    return _drawn(run, chosen_frames(run, choice), choice.num_last)


def html(run: Run, site: Site, recipes: Sequence[str]) -> Markup:
    """Write the video of a report and render it; render how to store frames for a run without any.

    It shows the recipe `default` if it is among the recipes, else the first of them.
    """
    images = _report_frames(run, "default" if "default" in recipes else recipes[0])
    video = None
    if images:
        # A single class may have too many frames: then every second or third is shown.
        every = -(-(len(images[0]) + FRAMES_PER_SECOND) // MOST_FRAMES)
        frames = islice(_drawn(run, images, FRAMES_PER_SECOND * every), 0, None, every)
        video = write_video(site, f"{run.id}/generation", frames, frames_per_second=FRAMES_PER_SECOND)
    names = [str(rows["class_name"].iloc[0]) for rows in images]
    return site.render("generation_video.html", run=run, video=video, class_names=names)


def _report_frames(run: Run, recipe: str) -> list[pd.DataFrame]:
    """Return the rows of the first images with frames, as many as the video has room for; none without frames."""
    # sweep.json knows whether there are frames: a large run has thousands of image files, and seldom frames.
    if run.settings.get("frames", "all") in ("", "none", None):
        return []
    try:
        images = chosen_frames(run, GenerationChoice(recipe=recipe))
    except ValueError:
        return []
    ends = np.cumsum([len(rows) + FRAMES_PER_SECOND for rows in images])
    return [rows for place, rows in enumerate(images) if place == 0 or ends[place] <= MOST_FRAMES]


def _drawn(run: Run, images: Sequence[pd.DataFrame], num_last: int) -> Iterator[Pixels]:
    """Yield the frames of images, given by rows of `frame_rows`; each image's last frame `num_last` times."""
    names = _class_names(run)
    for rows in images:
        pixels, logits = frame_values(run, rows)
        layout = LogitLayout(_subject(rows, pixels[0], logits, names))
        for image, values, step in zip(pixels, logits, rows["step"], strict=True):
            frame = layout.frame(image, values, int(step))
            yield frame
        for _ in range(num_last - 1):
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
        # If all logits are equal, the axis still needs a length.
        limits=(low, high) if high > low else (low - 1, high + 1),
        shape=image.shape,
        num_steps=int(first["num_steps"]),
    )


def _class_names(run: Run) -> dict[int, str]:
    """Return index and name of the classes that the run has images of."""
    known = run.results(["class_index", "class_name"]).drop_duplicates("class_index")
    return {
        index: f"{index} {name}"
        for index, name in zip(known["class_index"], known["class_name"], strict=True)
    }
