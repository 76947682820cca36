"""One static HTML report of run directories, or all their rows in a browser on this machine.

python -m analysis.report RUN... --output DIR [--natural ACTIVATIONS_RUN]
python -m analysis.report RUN... --serve [--port N]
"""

import argparse
import sys
from collections.abc import Sequence

from analysis.command_line import exit_status
from analysis.html.site import open_site
from analysis.report.pages import write_report
from analysis.run import open_runs
from analysis.units.natural import with_natural

PORT = 8765


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="One static HTML report of run directories: it opens from a folder or a bucket.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directory: path or URL")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--output", metavar="DIR", help="folder or URL for the pages, best a new one")
    place.add_argument(
        "--serve",
        action="store_true",
        help="instead of files, pages with filters over all rows, for a browser on this machine until Ctrl-C",
    )
    parser.add_argument("--port", metavar="N", type=int, help=f"of --serve, 0 for any free one ({PORT})")
    parser.add_argument("--title", default="Sweep report", help="title of the report (%(default)s)")
    parser.add_argument(
        "--natural",
        metavar="RUN",
        help="run of activations_all.py, shown beside the pictures of its units or classes",
    )
    options = parser.parse_args(arguments)
    if options.serve:
        _serve(options)
        return
    if options.port is not None:
        raise ValueError(f"port is {options.port}: it belongs to --serve, and --output writes files")
    runs = open_runs(options.runs)
    if options.natural is not None:
        runs = with_natural(runs, options.natural)
    site = open_site(options.output)
    write_report(runs, site, title=options.title)
    print(site.index)


def _serve(options: argparse.Namespace) -> None:
    if options.natural is not None:
        raise ValueError(
            f"natural is {options.natural!r}: it belongs to --output; give the run itself to --serve"
        )
    try:
        from analysis.serve.server import serve
    except ModuleNotFoundError as error:
        if error.name != "duckdb":
            raise
        raise ValueError("report --serve needs duckdb: pip install 'attrib-sweeps[viewer]'") from error
    serve(open_runs(options.runs), port=PORT if options.port is None else options.port, title=options.title)


if __name__ == "__main__":
    sys.exit(exit_status(main))
