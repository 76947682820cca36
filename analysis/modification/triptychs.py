"""Some modified images: the image as it was, what it became, and the difference, as PNG and in a report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.contrast import stretched_difference
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.pixels import Pixels
from analysis.html.choices import spread
from analysis.html.pictures import Album, Triptych, plain_name, taken_for
from analysis.html.site import Site
from analysis.load import stored_images
from analysis.modification.rows import class_names
from analysis.run import Run

NUM_TRIPTYCHS, NUM_ACROSS = 12, 2

NOTES = (
    "✓ the original is taken for its label, the modified image for the target; ✗ for another class",
    "Evenly over targets and outcomes among the stored images",
    "Difference: mid-grey where nothing changed, stretched until the largest change is black or white",
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """An image of a triptych with its caption; `key` names the pixels, `right` is a verdict, None without one."""

    key: str
    pixels: Pixels
    name: str
    alt: str
    caption: str
    right: bool | None = None


def choose_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return some rows with stored images, evenly over targets and outcomes, of other classes than the target."""
    stored = frame[frame["image_key"].notna() & frame["clean_key"].notna()]
    stored = stored[stored["target"] != stored["label"]]
    if stored.empty:
        return stored
    # The order of the images is turned for each target: otherwise the first image would be chosen for all of them.
    image, target = (stored[column].rank(method="dense") for column in ("image_index", "target"))
    stride = max(1, image.max() // target.max())
    ordered = stored.assign(turn_=(image - stride * target) % image.max()).sort_values("turn_", kind="stable")
    return spread(ordered, ordered["prediction"] == ordered["target"], "target", NUM_TRIPTYCHS)


def triptychs(run: Run, frame: pd.DataFrame) -> list[tuple[str, list[Panel]]]:
    """Return title and panels of each chosen image of a run's rows: what figure and report both show."""
    rows, names = choose_rows(frame), class_names(run, frame)
    images = stored_images(run, rows, ("clean_key", "image_key"))
    return [(_title(row, names), list(_panels(row, images, names))) for row in rows.to_dict("records")]


def figure(shown: Sequence[tuple[str, Sequence[Panel]]], *, title: str) -> Figure:
    """Draw what `triptychs` gave, at least one, a strip each."""
    strips = [
        Strip(
            title=heading,
            cells=[Cell(image=panel.pixels, correct=panel.right, caption=panel.caption) for panel in panels],
        )
        for heading, panels in shown
    ]
    headers = [panel.name for panel in shown[0][1]]
    num_across = min(NUM_ACROSS, len(strips))
    return draw_page(Page(title=title, strips=strips, num_across=num_across, headers=headers, notes=NOTES))


def html(run: Run, site: Site, shown: Sequence[tuple[str, Sequence[Panel]]]) -> str:
    """Write the pictures of what `triptychs` gave and render them."""
    album = Album(site, f"{run.id}/pictures")
    pictured = [
        Triptych(title=heading, pictures=[_picture(album, panel) for panel in panels])
        for heading, panels in shown
    ]
    return site.render("modification_triptychs.html", run=run, triptychs=pictured, notes=NOTES)


def _title(row: Mapping[Any, Any], names: Mapping[int, str]) -> str:
    label, target = plain_name(row["label"], names), plain_name(row["target"], names)
    return f"image {row['image_index']}, {label} → {target}"


def _panels(
    row: Mapping[Any, Any], images: Mapping[str, Pixels], names: Mapping[int, str]
) -> Iterator[Panel]:
    index, before, after = row["image_index"], images[row["clean_key"]], images[row["image_key"]]
    change, largest = stretched_difference(before, after)
    yield Panel(
        key=row["clean_key"],
        pixels=before,
        name="original",
        alt=f"image {index} as it is",
        caption=taken_for(row["initial_prediction"], row["initial_confidence"], names),
        right=row["initial_prediction"] == row["label"],
    )
    yield Panel(
        key=row["image_key"],
        pixels=after,
        name="modified",
        alt=f"image {index} modified towards {plain_name(row['target'], names)}",
        caption=taken_for(row["prediction"], row["confidence"], names),
        right=row["prediction"] == row["target"],
    )
    yield Panel(
        key=f"{row['image_key']} change",
        pixels=change,
        name="difference",
        alt=f"what was changed of image {index}",
        caption=f"up to {255 * largest:.0f}/255, l2 norm {row['l2']:.2f}",
    )


def _picture(album: Album, panel: Panel) -> Any:
    return album.picture(
        panel.key,
        panel.pixels,
        name=panel.name,
        alt=panel.alt,
        caption=panel.caption,
        right=panel.right,
    )
