"""Galleries of units: synthetic pictures by layer, natural images beside them, as pages of PNG.

python -m analysis.units.gallery RUN --output DIR [--natural ACTIVATIONS_RUN] [--layer NAME] [--num-natural N]

RUN is a run of units of generate_all.py, or a run of activations_all.py, whose strongest images are shown alone.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.image_grid import Cell, Page, Strip, draw_page
from analysis.drawing.labels import file_stem
from analysis.run import open_sweep
from analysis.units.natural import MOST_NATURAL, NATURAL, open_natural
from analysis.units.rows import SYNTHETIC
from analysis.units.shelves import (
    Collection,
    ImageName,
    Pixels,
    Shelf,
    UnitPicture,
    open_collection,
    shelf_images,
    shelves,
)
from analysis.units.summary import layer_table, unit_table

NUM_UNITS = 10

SYNTHETIC_NOTE = "beneath a picture: the unit's activation, measured on the picture as it is stored"
NATURAL_NOTE = "natural images: the strongest of the data set, with activation and label"
MARK_NOTE = "ring: where in the image the unit is activated most"


def gallery_pages(collection: Collection, num_units: int = NUM_UNITS) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page; only the images of the page are in memory."""
    numbers: Counter[tuple[str, str]] = Counter()
    for shelf in shelves(collection, num_units):
        group = shelf.layer, shelf.recipe
        numbers[group] += 1
        stem = "-".join(["units", *(file_stem(word) for word in group if word), f"{numbers[group]:03d}"])
        yield stem, shelf_figure(shelf, shelf_images(collection, shelf), model=collection.model)


def shelf_figure(shelf: Shelf, images: Mapping[ImageName, Pixels], *, model: str) -> Figure:
    """Draw a shelf: a strip a unit, its synthetic pictures first."""
    return draw_page(
        Page(
            title=shelf_title(shelf, model),
            strips=[
                Strip(title=row.name, cells=[_cell(each, images) for each in row.pictures])
                for row in shelf.rows
            ],
            headers=shelf.columns,
            notes=shelf_notes(shelf),
        )
    )


def shelf_title(shelf: Shelf, model: str) -> str:
    """Return the model, the layer and the recipe of a shelf."""
    return f"{model}, {shelf.layer}" + (f", recipe {shelf.recipe}" if shelf.recipe else "")


def shelf_notes(shelf: Shelf) -> list[str]:
    """Return what a reader has to know to read a shelf."""
    said = {
        SYNTHETIC_NOTE: shelf.num_synthetic > 0,
        NATURAL_NOTE: len(shelf.columns) > shelf.num_synthetic,
        MARK_NOTE: shelf.is_marked,
    }
    return [note for note, is_said in said.items() if is_said]


def _cell(picture: UnitPicture | None, images: Mapping[ImageName, Pixels]) -> Cell:
    if picture is None or picture.image is None:
        return Cell()
    return Cell(image=images[picture.image], note=picture.caption, mark=picture.mark)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages and tables that the command line asks for, and print their paths."""
    parser = figure_parser("python -m analysis.units.gallery", "Pictures of units by layer, and two tables.")
    natural, layer = (
        "run of activations_all.py whose images stand beside the synthetic ones",
        "this layer alone",
    )
    parser.add_argument("--natural", metavar="RUN", help=natural)
    parser.add_argument("--layer", metavar="NAME", help=f"{layer}; all of them unless given")
    parser.add_argument(
        "--num-natural", metavar="N", type=int, default=MOST_NATURAL, help="images a unit (%(default)s)"
    )
    options = parser.parse_args(arguments)
    run = open_sweep(options.run, SYNTHETIC, NATURAL)
    beside = None if options.natural is None else open_natural(options.natural, run)
    collection = open_collection(run, beside, options.num_natural)
    if options.layer is not None:
        collection = collection.of_layer(options.layer)
    units = unit_table(collection.synthetic, collection.natural)
    for name, table in (("units", units), ("units-by-layer", layer_table(units))):
        for path in save_table(table, options.output, name):
            print(path)
    for path in save_pages(gallery_pages(collection), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
