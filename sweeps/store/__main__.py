"""`python -m sweeps.store verify|gc|status|export-webdataset RUN`.

Exit status: 0 success; 1 problems found; 2 a user's mistake.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta

from sweeps.store.errors import explained
from sweeps.store.maintenance import Garbage, Status, collect_garbage, open_run, status
from sweeps.store.run_directory import RunDirectory
from sweeps.store.terminal_text import terminal_text
from sweeps.store.verification import Verification, verify
from sweeps.store.webdataset import export_webdataset

PROBLEMS_FOUND = 1
USER_MISTAKE = 2

_MAX_LINES = 50

Command = Callable[[RunDirectory, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. argparse itself exits with 2 for unknown arguments."""
    options = _parser().parse_args(arguments)
    try:
        run = open_run(options.run)
        with explained(run.url, "read"):
            return int(options.command(run, options))
    except ValueError as error:
        print(terminal_text(f"error: {error}"), file=sys.stderr)
        return USER_MISTAKE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.store", description="Maintenance of a run directory."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, about: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument("run", metavar="RUN", help="run directory: a path, s3://, gs:// or az://")
        sub.set_defaults(command=command)
        return sub

    add("verify", _verify, "Check that every file opens, every key is there once and every image is there.")
    gc = add("gc", _gc, "Delete images that no row names and what dead writers left.")
    gc.add_argument(
        "--older-than",
        type=_minutes,
        default=timedelta(minutes=60),
        metavar="MINUTES",
        help="leave younger files alone: a running sweep needs them (default: 60)",
    )
    gc.add_argument("--dry-run", action="store_true", help="only list them")
    add("status", _status, "Say how far a run is.")
    export = add("export-webdataset", _export, "Write the images and their rows as WebDataset tar files.")
    export.add_argument("output", metavar="OUTPUT", help="a folder or URL without tar files")
    export.add_argument(
        "--shard-size", type=_positive, default=1000, help="images a tar file (default: 1000)"
    )
    return parser


def _minutes(text: str) -> timedelta:
    try:
        minutes = timedelta(minutes=float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes") from None
    if minutes < timedelta(0):
        raise argparse.ArgumentTypeError(f"{text!r} is negative; accepted: 0 or more minutes")
    return minutes


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted; accepted: 1 or more")
    return int(text)


def _verify(run: RunDirectory, _options: argparse.Namespace) -> int:
    found = verify(run)
    print(terminal_text(_verification(found)))
    return PROBLEMS_FOUND if found.problems else 0


def _gc(run: RunDirectory, options: argparse.Namespace) -> int:
    garbage = collect_garbage(run, older_than=options.older_than, dry_run=options.dry_run)
    print(terminal_text(_garbage(garbage, "would delete" if options.dry_run else "deleted")))
    return 0


def _status(run: RunDirectory, _options: argparse.Namespace) -> int:
    print(f"run         {run.url}")
    print(terminal_text(_describe(status(run))))
    return 0


def _export(run: RunDirectory, options: argparse.Namespace) -> int:
    count = export_webdataset(run, options.output, shard_size=options.shard_size)
    print(f"{count} images in {math.ceil(count / options.shard_size)} tar files in {options.output}")
    return 0


def _verification(found: Verification) -> str:
    lines = [
        f"{found.num_committed} shards, {found.num_rows} rows, {found.num_images} images named by rows",
        *(f"{name}: {shards} shards, {rows} rows" for name, (shards, rows) in found.beside.items()),
        f"{found.num_orphan_images} image files that no row names (`gc` deletes old ones)",
        *_listed(
            f"{len(found.failures)} quarantined shards (the sweep's command retries them)", found.failures
        ),
        *(
            _listed(
                f"{len(found.unusable_images)} images could not be used (repair them; the sweep's command "
                "computes them)",
                found.unusable_images,
            )
            if found.unusable_images
            else []
        ),
        *_listed(f"{len(found.problems)} problems", found.problems),
    ]
    return "\n".join(lines)


def _garbage(garbage: Garbage, verb: str) -> str:
    lines = _listed(
        f"{verb} {len(garbage.files)} files, {_size(garbage.bytes)}", [file.path for file in garbage.files]
    )
    if garbage.num_too_young:
        lines.append(f"left {garbage.num_too_young} younger files alone (--older-than)")
    return "\n".join(lines)


def _describe(found: Status) -> str:
    rows = f"{found.num_rows} rows" + (
        f" ({found.num_unreadable} unreadable)" if found.num_unreadable else ""
    )
    lines = [
        f"sweep       {found.sweep.get('sweep', 'unknown')}",
        f"committed   {found.num_committed} shards, {rows}, {_size(found.result_bytes)}",
        *(f"{name:<11} {shards} shards, {rows} rows" for name, (shards, rows) in found.beside.items()),
        f"images      {found.num_image_files} files, {_size(found.image_bytes)}",
        f"_SUCCESS    {'yes' if found.succeeded else 'no'}",
        *_listed(f"failures    {len(found.failures)}", list(found.failures)),
        *_listed(
            f"unusable    {len(found.unusable_images)} images",
            [failure.describe() for failure in found.unusable_images],
        ),
        f"progress    {'none' if found.progress is None else json.dumps(found.progress)}",
    ]
    return "\n".join(lines)


def _listed(headline: str, items: Sequence[str]) -> list[str]:
    """Return the headline and the first items below it."""
    more = [f"  and {len(items) - _MAX_LINES} more"] if len(items) > _MAX_LINES else []
    return [headline, *(f"  {item}" for item in items[:_MAX_LINES]), *more]


def _size(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


if __name__ == "__main__":
    exit_status = main()
    sys.stdout.flush()
    # Skip the interpreter's own shutdown. About once in fifty times a native thread of the Parquet or store
    # library takes the interpreter's lock during it, which aborts the process after its work is done.
    os._exit(exit_status)
