"""Real images changed until another class is seen in them: how large a change it takes, label by target; pictures.

python -m analysis.modification RUN --output DIR [--num-images N]
"""

import sys
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.modification import pairs, triptychs
from analysis.modification.own_label import own_and_other, sentence
from analysis.modification.rows import class_names, load_rows
from analysis.modification.strips import strip_pages
from analysis.naming import describe
from analysis.run import Run, open_run

NUM_IMAGES = 12

_NOTES = (
    "means, in pixel units of [0, 1], when the target was first predicted, over the images where it was",
    "green frames: the target is the image's own label; grey: no image reached the target",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables and figures of a run and print their paths."""
    parser = figure_parser("python -m analysis.modification", "Images modified towards other classes.")
    parser.add_argument(
        "--num-images", metavar="N", type=int, default=NUM_IMAGES, help="images in strips (%(default)s)"
    )
    options = parser.parse_args(arguments)
    run = open_run(options.run)
    frame = load_rows(run)
    table, sides = pairs.modification_table(frame), own_and_other(frame)
    for name, each in {"modifications": table, "modifications-own-and-other": sides}.items():
        for path in save_table(each, options.output, name):
            print(path)
    title, notes = f"{describe(frame)}: modified", [*_NOTES, *filter(None, [sentence(sides)])]
    figures = [("modifications", pairs.figure(table, title=title, notes=notes))]
    for path in save_pages([*_triptychs(run, frame), *figures], options.output):
        print(path)
    strips = strip_pages(run, frame, class_names(run, frame), options.num_images)
    for path in save_pages(strips, options.output):
        print(path)


def _triptychs(run: Run, frame: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield the page of triptychs; none for a run that stored no images."""
    shown = triptychs.triptychs(run, frame)
    if shown:
        yield "modification-triptychs", triptychs.figure(shown, title=f"{describe(frame)}: modified")


if __name__ == "__main__":
    sys.exit(exit_status(main))
