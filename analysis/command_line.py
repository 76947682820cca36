"""What the command lines of the analysis share: a user's mistake is one line and exit status 2."""

import argparse
import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sweeps.store.terminal_text import terminal_text

TABLE_SUFFIXES = (".csv", ".parquet")


def exit_status(main: Callable[[], None]) -> int:
    """Run a command line; a ValueError or a file that cannot be written becomes a message on stderr.

    So does Ctrl-C, with a shell's exit status for it.
    """
    try:
        main()
    except KeyboardInterrupt:
        print("Interrupted; the same command starts over", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(terminal_text(f"error: {error}"), file=sys.stderr)
        return 2
    return 0


def page_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every command that draws pages of images."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("run", metavar="RUN", help="run directory: path or URL")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument(
        "--judge", metavar="NAME", help="whose verdict marks the images; the run's first unless given"
    )
    parser.add_argument(
        "--stretch",
        metavar="SHARE",
        type=float,
        nargs="?",
        const=0.01,
        help="stretch the contrast of each image, clipping this share of its values at each end (%(const)s)",
    )
    return parser


def save_pages(figures: Iterable[tuple[str, Figure]], folder: Path) -> Iterator[Path]:
    """Write each named figure to `folder` as PNG and yield its path before the next figure is drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures:
        path = folder / f"{name}.png"
        # Without matplotlib's version in it, the same results give the same file.
        figure.savefig(path, dpi=figure.dpi, metadata={"Software": None})
        del figure
        # Figures and their parts refer to each other in circles: pages would pile up until a collection.
        gc.collect()
        yield path


def table_path(text: str) -> Path:
    """Return the path of a table, for argparse: its suffix must be one of the kinds that can be written."""
    path = Path(text)
    if path.suffix not in TABLE_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted; accepted: {', '.join(TABLE_SUFFIXES)}")
    return path


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV or Parquet, as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)


def save_table(table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write a table to a folder both ways and return the paths."""
    paths = [folder / f"{name}{suffix}" for suffix in TABLE_SUFFIXES]
    for path in paths:
        write_table(table, path)
    return paths


def figure_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every command that draws figures of tables."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("run", metavar="RUN", help="run directory: path or URL")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder for what is drawn and written"
    )
    return parser
