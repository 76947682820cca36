"""Runs every benchmark, one after the other, and leaves a JSON file of each in `--output`."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

# The short ones first; the last three take most of the time.
BENCHMARKS = (
    "pool_overheads",
    "plan_scale",
    "recovery",
    "s3_overlap",
    "batch_and_precision",
    "attack_against_peers",
    "attack_command_against_foolbox",
    "searches_against_foolbox",
    "prediction_differences",
    "norms_against_foolbox",
    "foreign_attack_overhead",
    "analysis_scale",
    "report_size",
    "viewer_scale",
    "attribution_against_captum",
    "attribution_scores_against_captum",
    "road_against_quantus",
    "tape_cost",
    "replay_scaling",
    "pool_against_bare_loop",
    "autoattack_two_actors",
    "generation_quality_per_minute",
    "units_against_lucent",
    "recipe_table",
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: do they run?")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), metavar="FOLDER")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="names, with commas between them")
    parser.add_argument("--skip", default="", help="likewise")
    options = parser.parse_args()
    for name in filter(None, [*options.only.split(","), *options.skip.split(",")]):
        if name not in BENCHMARKS:
            parser.error(f"no benchmark is called {name!r}; there are {', '.join(BENCHMARKS)}")
    return options


def main() -> int:
    options = parse()
    failed = []
    for name in [name for name in options.only.split(",") if name not in options.skip.split(",")]:
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py"))]
        command += ["--output", str(options.output / f"{name}.json")] + ["--quick"] * options.quick
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        status = subprocess.run(command, check=False).returncode
        print(f"== {name}: {time.perf_counter() - start:.0f} s, exit status {status}", flush=True)
        if status:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
