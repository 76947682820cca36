"""How tests share out processes, and what a run directory holds, for suites that disturb a run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from xdist.scheduler import LoadFileScheduling

from attrib_core.user_code import forget
from sweeps.store import RunDirectory

REPOSITORY = Path(__file__).parents[1]
# Files of which one process runs all, because each starts what they share anew; those that take longest first.
TOGETHER = {
    "interruptions": ("tests/faults/test_interruptions",),
    "faults": ("tests/faults/",),
    "cluster": ("tests/cluster/",),
    "runs": tuple(
        f"tests/sweeps/test_{name}.py"
        for name in (*("attack_all", "attribute_all", "attribute_training", "modify_all"),
                     *("hostile_names", "own_code", "runs_without_axis_kinds", "tune_recipe"))
    ),
    "generation": ("tests/sweeps/test_generate_all",),
}  # fmt: skip
# The columns that may differ between two runs of the same cells.
OF_THE_RUN = {"attempt", "image_file", "perturbation_file", "clean_file", "seconds"}


def pytest_configure(config: pytest.Config) -> None:
    """Give torch one thread where several processes run tests: threads that wait for each other burn the cores."""
    if hasattr(config, "workerinput"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


class BySharedStarts(LoadFileScheduling):
    """Gives a process whole files, and of those that share what takes long to start, all."""

    def _split_scope(self, nodeid: str) -> str:
        return shared_start(nodeid) or super()._split_scope(nodeid)


def shared_start(nodeid: str) -> str | None:
    """Return which of `TOGETHER` a test belongs to, if any."""
    return next((name for name, files in TOGETHER.items() if nodeid.startswith(files)), None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedStarts | None:
    """Replace the scheduler of `--dist loadfile`."""
    return BySharedStarts(config, log) if config.option.dist == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of `TOGETHER` first: the others take seconds each, so all processes end at about one time."""
    order = [*TOGETHER, None]
    items.sort(key=lambda item: order.index(shared_start(item.nodeid)))


@pytest.fixture(autouse=True)
def _no_code_of_others() -> Iterator[None]:
    """Forgets the files that a test named as a user: the next one writes other files of the same names."""
    forget()
    yield
    forget()


class StoredRun:
    """The results and images of a run directory on a disk or in an object store."""

    def __init__(self, url: str | Path) -> None:
        self.run = RunDirectory(url)

    def table(self) -> pa.Table:
        """Return all rows with all columns."""
        return pa.concat_tables(
            pq.read_table(self.run.files.open(entry.path)) for entry in self.run.results()
        )

    def rows(self, identity: tuple[str, ...]) -> pa.Table:
        """Return all rows in the order of these columns, without the columns that may differ."""
        table = self.table().sort_by([(name, "ascending") for name in identity])
        return table.drop(sorted(OF_THE_RUN & set(table.column_names))).combine_chunks()

    def named_files(self) -> set[str]:
        """Return the image files that rows name."""
        table = self.table()
        columns = [table[name].to_pylist() for name in table.column_names if name.endswith("_file")]
        return {name for column in columns for name in column if name is not None}

    def images(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the stored images of the files that rows name, by shard and key."""
        stored: dict[tuple[str, str], dict[str, Any]] = {}
        for name in self.named_files():
            # The attempt and a random number follow the shard's id.
            shard_id = name.rsplit("-", 2)[0]
            for row in pq.read_table(self.run.files.open(f"images/{name}")).to_pylist():
                assert (shard_id, row["key"]) not in stored
                stored[shard_id, row["key"]] = row
        return stored

    def check_tidy(self) -> None:
        """Check that `verify` finds no problem, and that `gc` leaves only the images that rows name."""
        assert "\n0 problems" in self.maintain("verify")
        self.maintain("gc", "--older-than", "0")
        assert {entry.name for entry in self.run.images()} == self.named_files()
        assert "\n0 problems" in self.maintain("verify")

    def maintain(self, command: str, *options: str) -> str:
        """Run a command of `python -m sweeps.store` and return what it prints."""
        arguments = [sys.executable, "-m", "sweeps.store", command, self.run.url, *options]
        done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def stored() -> type[StoredRun]:
    """Return the class that reads a run directory, by its path or URL."""
    return StoredRun
