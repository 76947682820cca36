"""The figures of a run in one call each, and images from memory beside each other: for a notebook.

    from attrib_sweeps import draw_triptychs
    draw_triptychs("runs/attack", methods=["fgsm"], epsilons=[8 / 255])

Each takes a path, a URL or a run that `open_run` has opened, and returns a matplotlib figure. A notebook shows it
if it is the last line of a cell. The folders of the questions have the tables behind them and more views.
"""

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from analysis.attacks import curves, triptychs
from analysis.attacks.rows import in_asked_order, load_rows
from analysis.attacks.stored_images import COLUMNS, choose, groups, load_images
from analysis.attribution import choice, grids
from analysis.attribution.sanity import explained_figure, sanity_table
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.generation import contact_sheets, rows
from analysis.generation.class_strips import choose_look
from analysis.naming import class_names, describe, recorded_class_names
from analysis.run import AnyRun, opened

# By which pixels may leave [0, 1] and are cut off, such as after a resize, or where a change is shown enhanced.
_BEYOND = 0.1


def draw_images(
    strips: Mapping[str, ArrayLike],
    *,
    title: str,
    headers: Sequence[str] = (),
    num_across: int = 1,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw strips of images `[K, C, H, W]` in [0, 1], each under its name; `headers` name the K columns.

    `num_across` strips stand side by side. Tensors are accepted where NumPy can read them. Raises ValueError for
    images of another shape, and for strips of unequal lengths.
    """
    pixels = {name: _pixels(name, images) for name, images in strips.items()}
    if len({len(images) for images in pixels.values()}) != 1:
        lengths = ", ".join(f"{name!r} {len(images)}" for name, images in pixels.items())
        raise ValueError(
            f"strips have {lengths or 'no'} images: accepted are one or more strips of equal lengths"
        )
    drawn = [
        Strip(title=name, cells=[Cell(image=each) for each in images]) for name, images in pixels.items()
    ]
    return draw_page(Page(title=title, strips=drawn, headers=headers, num_across=num_across, notes=notes))


def draw_curves(run: AnyRun, *, measure: str = "success") -> Figure:
    """Draw `success` or `accuracy` of a run's attacks against ε, a line each, with 95 % intervals.

    Of several checkpoints each has a row of panels. Raises ValueError for a run without attacks at a given ε.
    """
    frame = load_rows(run)
    table = in_asked_order(curves.curve_table(frame), run)
    notes = curves.curve_notes(table, "label", rounded=False)
    if measure not in notes:
        raise ValueError(f"measure is {measure!r}: choose from {', '.join(notes)}")
    shown = table[table["measure"] == measure]
    title = f"{describe(frame)}: {measure} against ε"
    return curves.figure(shown, panels="checkpoint", lines="attack", title=title, notes=notes[measure])


def draw_triptychs(
    run: AnyRun,
    *,
    methods: Sequence[str] | None = None,
    epsilons: Sequence[float] | None = None,
    num_images: int = 4,
) -> Figure:
    """Draw the first images of a run's first attack and ε, or of those named: clean, changed, adversarial.

    Raises ValueError where the run stored no such images, and for an attack or ε that it does not have.
    """
    frame = load_rows(run, COLUMNS)
    group = next(groups(choose(frame, methods=methods, epsilons=epsilons, num_images=num_images)))
    names = class_names(frame) | recorded_class_names(run)
    title = f"{group.rows['model'].iloc[0]} under {group.attack}, {group.at}"
    return triptychs.figure(group.rows, load_images(run, group.rows), names=names, title=title)


def draw_contact_sheet(run: AnyRun, *, recipe: str | None = None, num_across: int | None = None) -> Figure:
    """Draw the generated images of one recipe, the run's first unless named: a strip a class, a column a seed.

    Marks say what the run's first judge takes an image for, or the network itself without one. `num_across` strips
    stand side by side. Raises ValueError for a recipe that the run does not have.
    """
    generated = opened(run)
    frame = rows.load_rows(generated, ["top1"])
    recipes = rows.recipe_order(generated, frame)
    if recipe is not None and recipe not in recipes:
        raise ValueError(f"recipe is {recipe!r}: choose from {', '.join(recipes)}")
    frame = frame[frame["recipe"] == (recipe or recipes[0])]
    look = choose_look(frame, None)
    images = contact_sheets.load_images(generated, frame)
    return contact_sheets.contact_sheet(frame, images, look=look, num_across=num_across)


def draw_attributions(
    run: AnyRun,
    *,
    by: choice.By = "method",
    methods: Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    num_images: int = 4,
    overlay: bool = False,
) -> Figure:
    """Draw images of a run beside their attributions, a column a method, or `by` checkpoint.

    `images` are indices of the data set, unless given the first `num_images`; `overlay` lays maps on grey images.
    The figure has the first images if not all fit. Raises ValueError for what the run does not have.
    """
    if by not in get_args(choice.By):
        raise ValueError(f"by is {by!r}: choose from {', '.join(get_args(choice.By))}")
    chosen = choice.choose(run, choice.Choice(methods=methods, by=by, images=images, num_images=num_images))
    pages = grids.pages if by == "method" else grids.checkpoint_pages
    return next(pages(run, chosen, overlay=overlay))[1]


def draw_sanity_check(run: AnyRun, *, methods: Sequence[str] | None = None) -> Figure:
    """Draw how alike a run's maps stay as layers of the network are drawn anew, and what follows of each method.

    `docs/attribution.md` explains it. Raises ValueError for a run without the checkpoints that it takes.
    """
    static = opened(run)
    table = sanity_table(static, methods, sample=None, seed=0)
    order = choice.method_order(static, table["method"].unique())
    return explained_figure(table, order)


def _pixels(name: str, images: ArrayLike) -> NDArray[np.uint8]:
    """Return images `[K, C, H, W]` in [0, 1] as `[K, H, W, C]` of 8 bits."""
    images = images.detach().cpu() if hasattr(images, "detach") else images  # of a tensor with a gradient
    values = np.asarray(images, dtype=np.float64)
    if values.ndim != 4 or values.shape[1] not in (1, 3):
        raise ValueError(
            f"images of {name!r} have shape {values.shape}: accepted is [K, C, H, W] with 1 or 3 channels"
        )
    # Further out are images of 8 bits, or normalised ones.
    inside = (values >= -_BEYOND) & (values <= 1 + _BEYOND)  # false for what is no number
    if not inside.all():
        raise ValueError(
            f"images of {name!r} go from {values.min():g} to {values.max():g}: accepted are numbers in [0, 1]"
        )
    pixels: NDArray[np.uint8] = np.rint(values.clip(0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels
