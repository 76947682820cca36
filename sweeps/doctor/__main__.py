"""What this machine can do: versions, devices, memory, Ray, storage, and what is missing for which feature.

python -m sweeps.doctor [--quick] [--address ADDRESS] [--output URL]

Exit status: 0 if sweeps can run, 1 if something stops them, 2 for a mistake in the command, 130 after Ctrl-C.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from attrib_core.errors import in_one_line
from sweeps.doctor.findings import Finding, verdict
from sweeps.doctor.software import software
from sweeps.store.terminal_text import terminal_text

SOMETHING_WRONG = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line as each check ends, and a verdict. Return the exit status."""
    options = _parser().parse_args(arguments)
    findings = []
    try:
        for finding in _checks(options):
            findings.append(finding)
            print(terminal_text(finding.line()), flush=True)
    except KeyboardInterrupt:
        print("Interrupted; nothing was changed", file=sys.stderr)
        return INTERRUPTED
    print(verdict(findings))
    return SOMETHING_WRONG if any(finding.state == "wrong" for finding in findings) else 0


def _checks(options: argparse.Namespace) -> Iterator[Finding]:
    yield from software()
    try:
        # Here, because a torch that is missing or broken is what the line above this one is for.
        from sweeps.cli import default_output
        from sweeps.doctor.machine import machine
        from sweeps.doctor.services import defaults, ray_session, storage
    except (ImportError, OSError) as error:  # OSError: a library of CUDA that cannot be loaded
        yield Finding("wrong", "packages", f"cannot be imported: {in_one_line(error)}")
        return
    output = options.output or default_output("doctor")
    yield from machine(output)
    yield from defaults()
    yield storage(output)
    if not options.quick:
        yield ray_session(options.address)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweeps.doctor", description="What this machine can do.")
    parser.add_argument("--quick", action="store_true", help="do not connect to Ray, or start it")
    parser.add_argument("--address", help="of a Ray cluster, or `local` (the cluster if there is one)")
    parser.add_argument(
        "--output",
        metavar="URL",
        help="where results would be written: a path, s3://, gs:// or az:// (runs/doctor)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
