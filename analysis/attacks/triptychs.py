"""Triptychs: the clean image, the perturbation and the adversarial image, and the difference enhanced.

python -m analysis.attacks.triptychs RUN --output DIR
    [--methods NAME,NAME] [--epsilons 2/255,0.01] [--num-images N]
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis import load
from analysis.attacks.rows import (
    attack_names,
    attack_stem,
    class_names,
    format_epsilon,
    is_minimum,
    load_rows,
    recorded_class_names,
    refuse_other_sweeps,
)
from analysis.command_line import exit_status, figure_parser, save_pages
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.pages import chunks, select
from sweeps.schemas import IMAGE_COLUMNS

Images = Mapping[str, NDArray[np.uint8]]

ENHANCEMENT = 60
NUM_TRIPTYCHS, NUM_ACROSS = 12, 2

# Its stored image is ε · sign(g) by itself: there is no clean image below it.
_ALONE = "gradient_alone"
_MID_GREY = 127.5

_MARKS = "\N{CHECK MARK} the prediction is the label, \N{BALLOT X} it is another"

_COLUMNS = (
    "sweep",
    "model",
    "checkpoint",
    "dataset",
    "split",
    "key",
    "method",
    "target",
    "image_index",
    "epsilon",
    "label",
    "label_name",
    "clean_prediction",
    "clean_confidence",
    "adversarial_prediction",
    "adversarial_confidence",
    *(f"{column}_{part}" for column in IMAGE_COLUMNS for part in ("file", "key")),
)


def enhanced(clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mid-grey plus 60 times what the attack changed, of two images `[H, W, C]`, cut off at black and white."""
    difference = adversarial.astype(np.float64) - clean
    view: NDArray[np.uint8] = np.rint(np.clip(_MID_GREY + ENHANCEMENT * difference, 0, 255)).astype(np.uint8)
    return view


def triptychs(rows: pd.DataFrame, images: Images, *, names: Mapping[int, str], title: str) -> Figure:
    """Figure of rows that `choose` gave, a strip each: class and confidence stand above the images.

    `images` maps the keys in `clean_key`, `perturbation_key` and `image_key` to `[H, W, C]` uint8; `names` maps
    class indices to names. A green frame says that the prediction is the label, a red one that it is another.
    Raises ValueError for rows of another sweep.
    """
    refuse_other_sweeps(rows, [*_COLUMNS, "alone_prediction", "alone_confidence"])
    page = Page(
        title=title,
        strips=[_strip(row, images, names) for row in rows.itertuples()],
        num_across=min(NUM_ACROSS, len(rows)),
        headers=["clean", "perturbation", "adversarial", f"enhanced ×{ENHANCEMENT}"],
        notes=[_MARKS, *_notes(rows)],
    )
    return draw_page(page)


def pages(run: str | Path, rows: pd.DataFrame, names: Mapping[int, str]) -> Iterator[tuple[str, Figure]]:
    """File stem and figure of each page: by checkpoint, attack and ε, several triptychs on each.

    `rows` have an adversarial image each. Only the images of the page at hand are in memory.
    """
    for group in _groups(rows):
        for number, indices in enumerate(chunks(range(len(group.rows)), NUM_TRIPTYCHS), start=1):
            page = group.rows.iloc[list(indices)]
            title = f"{page['model'].iloc[0]} under {group.attack}, {group.at}, {group.checkpoint}"
            figure = triptychs(page, load_images(run, page), names=names, title=title)
            yield f"triptychs-{group.stem}-{number:03d}", figure


def load_images(run: str | Path, rows: pd.DataFrame) -> Images:
    """The images that the rows name, by key."""
    columns = [f"{column}_key" for column in IMAGE_COLUMNS]
    keys = [
        str(key) for key in pd.unique(rows[columns].to_numpy(dtype=object).ravel()) if isinstance(key, str)
    ]
    return dict(zip(keys, load.images(run, keys, rows=rows), strict=True))


def choose(
    frame: pd.DataFrame,
    *,
    methods: Sequence[str] | None = None,
    epsilons: Sequence[float] | None = None,
    num_images: int | None = None,
) -> pd.DataFrame:
    """The rows with a stored adversarial image; unless asked for, without those at ε = 0, where nothing changed.

    `num_images` are the first of each checkpoint, attack and ε. `alone_prediction` and `alone_confidence` say
    what ε · sign(g) by itself is taken for, where the sweep asked: its `gradient_alone` beside `fgsm`. Raises
    ValueError for a method or an ε that no such row has, and where no row has an image.
    """
    if num_images is not None and num_images < 1:
        raise ValueError(f"num_images is {num_images}: give 1 or more")
    rows = frame[frame["image_key"].notna()].sort_values("image_index", kind="stable")
    if rows.empty:
        raise ValueError("image_key is null in every row: the sweep stored no images; see its --save-images")
    rows = rows if methods is None else select(rows, "method", methods)
    rows = rows[rows["epsilon"] != 0] if epsilons is None else select(rows, "epsilon", epsilons)
    chosen = pd.concat([group.rows.iloc[:num_images] for group in _groups(rows)])
    return _with_alone(chosen, frame)


def _with_alone(rows: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with the prediction and confidence of the perturbation by itself, null where it is unknown."""
    on = ["checkpoint", "target", "image_index", "epsilon"]
    verdict = {"adversarial_prediction": "alone_prediction", "adversarial_confidence": "alone_confidence"}
    alone = frame.loc[frame["method"] == _ALONE, [*on, *verdict]].rename(columns=verdict)
    # Of another attack the perturbation is another one.
    return rows.merge(alone.assign(method="fgsm"), on=[*on, "method"], how="left")


class _Group(NamedTuple):
    checkpoint: str
    attack: str
    at: str
    stem: str
    rows: pd.DataFrame


def _groups(rows: pd.DataFrame) -> Iterator[_Group]:
    """The rows by checkpoint, attack and ε; minimum methods have an ε for each image."""
    rows = rows.assign(attack_=attack_names(rows), at_=rows["epsilon"].mask(is_minimum(rows)))
    by = ["checkpoint", "attack_", "at_"]
    for (checkpoint, attack, epsilon), group in rows.groupby(by, observed=True, dropna=False):
        at = "minimum ε" if pd.isna(epsilon) else f"ε = {format_epsilon(epsilon)}"
        written = "minimum" if pd.isna(epsilon) else format_epsilon(epsilon)
        stem = f"{attack_stem(checkpoint, attack)}-{written.replace('/', '-').replace('.', '_')}"
        yield _Group(str(checkpoint), str(attack), at, stem, group)


def _notes(rows: pd.DataFrame) -> list[str]:
    """What the third and fourth image show, and whose verdict stands above the second."""
    if (rows["method"] == _ALONE).all():
        return [f"adversarial: ε · direction without an image; enhanced: mid-grey + {ENHANCEMENT} × that"]
    notes = [f"enhanced: mid-grey + {ENHANCEMENT} × (adversarial − clean), cut off at black and white"]
    if rows["alone_prediction"].notna().any():
        notes.append("above the perturbation: what ε · direction is taken for by itself")
    return notes


def _strip(row: NamedTuple, images: Images, names: Mapping[int, str]) -> Strip:
    clean, perturbation, adversarial = (
        images.get(key) for key in (row.clean_key, row.perturbation_key, row.image_key)
    )
    difference = None
    if adversarial is not None and (clean is not None or row.method == _ALONE):
        below = np.zeros_like(adversarial) if row.method == _ALONE else clean
        difference = enhanced(below, adversarial)
    return Strip(
        title=_title(row, names),
        cells=[
            _view(clean, row.clean_prediction, row.clean_confidence, row.label, names),
            Cell(image=perturbation, caption=_alone_caption(row, names)),
            _view(adversarial, row.adversarial_prediction, row.adversarial_confidence, row.label, names),
            Cell(image=difference),
        ],
    )


def _title(row: NamedTuple, names: Mapping[int, str]) -> str:
    parts = [f"image {row.image_index} ({row.key})", f"label {_name(row.label, names)}"]
    if not pd.isna(row.target):
        parts.append(f"target {_name(int(row.target), names)}")
    if row.method.startswith("minimum_"):
        parts.append("no ε up to 1" if pd.isna(row.epsilon) else f"ε = {row.epsilon * 255:.3g}/255")
    return ", ".join(parts)


def _view(
    image: NDArray[np.uint8] | None, prediction: int, confidence: float, label: int, names: Mapping[int, str]
) -> Cell:
    caption = f"{confidence:.1%} {_name(prediction, names)}"
    return Cell(image=image, correct=bool(prediction == label), caption=caption)


def _alone_caption(row: NamedTuple, names: Mapping[int, str]) -> str:
    if pd.isna(row.alone_prediction):
        return ""
    return f"{row.alone_confidence:.1%} {_name(int(row.alone_prediction), names)}"


def _name(index: int, names: Mapping[int, str]) -> str:
    return names.get(index, str(index))


def _chosen_epsilons(rows: pd.DataFrame, texts: Sequence[str]) -> list[float]:
    """The epsilons of the rows that are written like this. Raises ValueError for one that no row has."""
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
    frame = load_rows(options.run, _COLUMNS)
    rows = choose(
        frame,
        methods=options.methods.split(",") if options.methods else None,
        epsilons=_chosen_epsilons(frame, options.epsilons.split(",")) if options.epsilons else None,
        num_images=options.num_images,
    )
    # A class that is predicted may be the label of no image.
    names = class_names(frame) | recorded_class_names(options.run)
    for path in save_pages(pages(options.run, rows, names), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
