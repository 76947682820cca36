"""Triptychs: the clean image, the perturbation and the adversarial image, and the difference enhanced.

The PNG and the report show the same pixels, in the same order, under the same numbers.

python -m analysis.attacks.triptychs RUN --output DIR
    [--methods NAME,NAME] [--epsilons 2/255,0.01] [--num-images N]
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attacks.rows import ALONE, is_minimum, load_rows, refuse_other_sweeps
from analysis.attacks.stored_images import COLUMNS, Images, choose, groups, load_images
from analysis.command_line import exit_status, figure_parser, save_pages
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.pages import chunks
from analysis.html import pictures
from analysis.naming import class_names, format_epsilon, recorded_class_names
from analysis.run import AnyRun, open_run

ENHANCEMENT = 60
NUM_TRIPTYCHS, NUM_ACROSS = 12, 2

PERTURBATION = "perturbation"
ENHANCED = f"enhanced ×{ENHANCEMENT}"

_MID_GREY = 127.5
_MARKS = "\N{CHECK MARK} the prediction is the label, \N{BALLOT X} it is another"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """An image of a triptych, None if none is stored, with the model's verdict on it, if there is one."""

    name: str
    alt: str
    image: NDArray[np.uint8] | None
    key: str | None
    prediction: int | None = None
    confidence: float | None = None
    right: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Triptych:
    """What both the figure and the report show of a row: clean, perturbation, adversarial, enhanced."""

    title: str
    size: str
    panels: Sequence[Panel]


def table(rows: pd.DataFrame, images: Images, names: Mapping[int, str]) -> list[Triptych]:
    """Return a triptych per row, without the perturbation where the attack of no row stores one.

    `images` maps the keys in `clean_key`, `perturbation_key` and `image_key` to `[H, W, C]` uint8; `names` maps
    class indices to names. Raises ValueError for rows of another sweep.
    """
    refuse_other_sweeps(rows, [*COLUMNS, "alone_prediction", "alone_confidence"])
    left_out = () if rows["perturbation_key"].notna().any() else (PERTURBATION,)
    return [
        Triptych(
            title=_title(row, names, minimum=minimum),
            size=_size(row),
            panels=[panel for panel in _panels(row, images) if panel.name not in left_out],
        )
        for row, minimum in zip(rows.itertuples(), is_minimum(rows), strict=True)
    ]


def read_table(run: AnyRun, rows: pd.DataFrame, names: Mapping[int, str]) -> list[Triptych]:
    """Return the table of rows of a run, whose images it reads."""
    return table(rows, load_images(run, rows), names)


def enhanced(clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return mid-grey plus 60 times what the attack changed, of images `[H, W, C]`, cut off at black and white.

    The factor is the same for all images, so that a larger change looks larger.
    """
    difference = adversarial.astype(np.float64) - clean
    view: NDArray[np.uint8] = np.rint(np.clip(_MID_GREY + ENHANCEMENT * difference, 0, 255)).astype(np.uint8)
    return view


def figure(rows: pd.DataFrame, images: Images, *, names: Mapping[int, str], title: str) -> Figure:
    """Draw rows that `choose` gave, a strip each: class and confidence stand above the images.

    A green frame says that the prediction is the label, a red one that it is another. `images` and `names` are
    those of `table`.
    """
    shown = table(rows, images, names)
    page = Page(
        title=title,
        strips=[
            Strip(title=each.title, cells=[_cell(panel, names) for panel in each.panels]) for each in shown
        ],
        num_across=min(NUM_ACROSS, len(shown)),
        headers=[panel.name for panel in shown[0].panels],
        notes=[_MARKS, *_notes(rows)],
    )
    return draw_page(page)


def html(
    shown: Sequence[Triptych], album: pictures.Album, names: Mapping[int, str]
) -> list[pictures.Triptych]:
    """Write the pictures of triptychs and return what the report shows of them."""
    return [
        pictures.Triptych(
            title=each.title, pictures=[_picture(panel, each, album, names) for panel in each.panels]
        )
        for each in shown
    ]


def figures(run: AnyRun, rows: pd.DataFrame, names: Mapping[int, str]) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page: by checkpoint, attack and ε, several triptychs on each.

    `rows` have an adversarial image each. Only the images of the page at hand are in memory.
    """
    for group in groups(rows):
        for number, indices in enumerate(chunks(range(len(group.rows)), NUM_TRIPTYCHS), start=1):
            page = group.rows.iloc[list(indices)]
            title = f"{page['model'].iloc[0]} under {group.attack}, {group.at}, {group.checkpoint}"
            drawn = figure(page, load_images(run, page), names=names, title=title)
            yield f"triptychs-{group.stem}-{number:03d}", drawn


def _panels(row: NamedTuple, images: Images) -> list[Panel]:
    clean, perturbation, adversarial = (
        images.get(key) for key in (row.clean_key, row.perturbation_key, row.image_key)
    )
    difference = None
    if adversarial is not None and (clean is not None or row.method == ALONE):
        difference = enhanced(np.zeros_like(adversarial) if row.method == ALONE else clean, adversarial)
    alone = {} if pd.isna(row.alone_prediction) else _verdict(row.alone_prediction, row.alone_confidence)
    return [
        Panel(
            name="clean",
            alt=f"image {row.image_index} as it is",
            image=clean,
            key=row.clean_key,
            right=bool(row.clean_prediction == row.label),
            **_verdict(row.clean_prediction, row.clean_confidence),
        ),
        Panel(
            name=PERTURBATION,
            alt=f"perturbation of image {row.image_index} by {row.method}",
            image=perturbation,
            key=row.perturbation_key,
            **alone,
        ),
        Panel(
            name="adversarial",
            alt=f"image {row.image_index} under {row.method}",
            image=adversarial,
            key=row.image_key,
            right=bool(row.adversarial_prediction == row.label),
            **_verdict(row.adversarial_prediction, row.adversarial_confidence),
        ),
        Panel(
            name=ENHANCED,
            alt=f"change of image {row.image_index} by {row.method}, {ENHANCED}",
            image=difference,
            key=f"{row.image_key} enhanced",
        ),
    ]


def _verdict(prediction: float, confidence: float) -> dict[str, int | float]:
    return {"prediction": int(prediction), "confidence": float(confidence)}


def _cell(panel: Panel, names: Mapping[int, str]) -> Cell:
    caption = ""
    if panel.prediction is not None:
        caption = f"{panel.confidence:.1%} {_name(panel.prediction, names)}"
    return Cell(image=panel.image, correct=panel.right, caption=caption)


def _picture(
    panel: Panel, triptych: Triptych, album: pictures.Album, names: Mapping[int, str]
) -> pictures.Picture:
    caption = ""
    if panel.prediction is not None:
        caption = pictures.taken_for(panel.prediction, panel.confidence, names)
    return album.picture(
        panel.key,
        panel.image,
        name=panel.name,
        alt=panel.alt,
        caption=triptych.size if panel.name == ENHANCED else caption,
        right=panel.right,
    )


def _notes(rows: pd.DataFrame) -> list[str]:
    """Return what the third and fourth image show, and whose verdict stands above the second."""
    if (rows["method"] == ALONE).all():
        return [f"adversarial: ε · direction without an image; enhanced: mid-grey + {ENHANCEMENT} × that"]
    notes = [f"enhanced: mid-grey + {ENHANCEMENT} × (adversarial − clean), cut off at black and white"]
    if rows["alone_prediction"].notna().any():
        notes.append("above the perturbation: what ε · direction is taken for by itself")
    return notes


def _title(row: NamedTuple, names: Mapping[int, str], *, minimum: bool) -> str:
    parts = [f"image {row.image_index} ({row.key})", f"label {_name(row.label, names)}"]
    if not pd.isna(row.target):
        parts.append(f"target {_name(int(row.target), names)}")
    if minimum:
        parts.append(_size(row))
    return ", ".join(parts)


def _size(row: NamedTuple) -> str:
    return "no ε up to 1" if pd.isna(row.epsilon) else f"ε = {row.epsilon * 255:.3g}/255"


def _name(index: int, names: Mapping[int, str]) -> str:
    return names.get(index, str(index))


def _chosen_epsilons(rows: pd.DataFrame, texts: Sequence[str]) -> list[float]:
    """Return the epsilons of the rows that are written like this. Raises ValueError for one that no row has."""
    known = {format_epsilon(epsilon): float(epsilon) for epsilon in sorted(rows["epsilon"].dropna().unique())}
    for text in texts:
        if text not in known:
            raise ValueError(f"epsilons: {text!r} is none of the rows': choose from {', '.join(known)}")
    return [known[text] for text in texts]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser(
        "python -m analysis.attacks.triptychs", "Images before and after an attack, as PNG files."
    )
    parser.add_argument("--methods", metavar="NAMES", help="these methods alone, such as fgsm,bim")
    parser.add_argument(
        "--epsilons", metavar="LIST", help="these alone, such as 2/255,0.01; all but 0 unless given"
    )
    parser.add_argument(
        "--num-images",
        metavar="N",
        type=int,
        default=NUM_TRIPTYCHS,
        help="images of each checkpoint, attack and ε (%(default)s)",
    )
    options = parser.parse_args(arguments)
    run = open_run(options.run)
    frame = load_rows(run, COLUMNS)
    rows = choose(
        frame,
        methods=options.methods.split(",") if options.methods else None,
        epsilons=_chosen_epsilons(frame, options.epsilons.split(",")) if options.epsilons else None,
        num_images=options.num_images,
    )
    # A class that is predicted may be the label of no image.
    names = class_names(frame) | recorded_class_names(run)
    for path in save_pages(figures(run, rows, names), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
