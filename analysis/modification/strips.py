"""Strips of modified images: the clean image, then what it became on the way to each target."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.pages import chunks
from analysis.load import stored_images
from analysis.run import AnyRun, opened

Images = Mapping[str, NDArray[np.uint8]]

NUM_DOWN, MOST_TARGETS = 6, 12


def modification_strips(
    rows: pd.DataFrame, images: Images, targets: Sequence[int], names: Mapping[int, str], *, title: str
) -> Figure:
    """Draw strips: each clean image, then what it became on the way to each target.

    Above an image stand the l2 norm of its change and what it is taken for; a green frame says that this is the
    target, or the label of the clean image. `images` maps the rows' keys to `[H, W, C]` uint8.
    """
    strips = []
    for index, group in rows.groupby("image_index"):
        first, by_target = group.iloc[0], group.set_index("target")
        modified = [
            _cell(by_target.loc[target], target, images, names) if target in by_target.index else Cell()
            for target in targets
        ]
        label = names.get(first["label"], str(first["label"]))
        title_of_strip = f"image {index} ({first['key']}), label {label}"
        strips.append(Strip(title=title_of_strip, cells=[_clean_cell(first, images, names), *modified]))
    headers = ["clean", *(names.get(target, str(target)) for target in targets)]
    notes = [
        "\N{CHECK MARK} taken for the target, or the clean image for its label, \N{BALLOT X} for another class",
        "above each image: the l2 norm of its change, and what it is taken for",
    ]
    return draw_page(Page(title=title, strips=strips, headers=headers, notes=notes))


def strip_pages(
    run: AnyRun, frame: pd.DataFrame, names: Mapping[int, str], num_images: int
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of pages of the first images; only a page's images are in memory."""
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}: give 1 or more")
    run = opened(run)
    indices, number = sorted(frame["image_index"].unique())[:num_images], 0
    for targets in chunks(sorted(frame["target"].unique()), MOST_TARGETS):
        for part in chunks(indices, NUM_DOWN):
            page = frame[frame["image_index"].isin(part) & frame["target"].isin(targets)]
            if page.empty:
                continue
            number += 1
            title = f"{page['model'].iloc[0]}: images modified towards other classes"
            images = stored_images(run, page, ("clean_key", "image_key"))
            figure = modification_strips(page, images, targets, names, title=title)
            yield f"modification-strips-{number:03d}", figure


def _clean_cell(row: pd.Series, images: Images, names: Mapping[int, str]) -> Cell:
    prediction = row["initial_prediction"]
    return Cell(
        image=images.get(row["clean_key"]),
        correct=bool(prediction == row["label"]),
        caption=names.get(prediction, str(prediction)),
    )


def _cell(row: pd.Series, target: int, images: Images, names: Mapping[int, str]) -> Cell:
    seen = names.get(row["prediction"], str(row["prediction"]))
    return Cell(
        image=images.get(row["image_key"]),
        correct=bool(row["prediction"] == target),
        caption=f"{row['l2']:.2f}, {seen}",
    )
