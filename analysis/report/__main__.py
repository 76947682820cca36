"""One static HTML report of run directories.

python -m analysis.report RUN... --output DIR [--natural ACTIVATIONS_RUN]
"""

import argparse
import sys
from collections.abc import Sequence

from analysis.command_line import exit_status
from analysis.html.site import open_site
from analysis.report.pages import write_report
from analysis.run import open_runs
from analysis.units.natural import with_natural


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="One static HTML report of run directories: it opens from a folder or a bucket.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directory: path or URL")
    parser.add_argument(
        "--output", metavar="DIR", required=True, help="folder or URL for the pages, best a new one"
    )
    parser.add_argument("--title", default="Sweep report", help="title of the report (%(default)s)")
    parser.add_argument(
        "--natural",
        metavar="RUN",
        help="run of activations_all.py, shown beside the pictures of its units or classes",
    )
    options = parser.parse_args(arguments)
    runs = open_runs(options.runs)
    if options.natural is not None:
        runs = with_natural(runs, options.natural)
    site = open_site(options.output)
    write_report(runs, site, title=options.title)
    print(site.index)


if __name__ == "__main__":
    sys.exit(exit_status(main))
