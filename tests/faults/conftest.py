"""Sweeps as a user starts them: processes of their own, each with its Ray cluster, that may be killed."""

import io
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
GENERATE = "sweeps/generate_all.py"
NUM_CLASSES = 24
OPTIONS = (
    *("--classes", f"0-{NUM_CLASSES - 1}", "--recipes", "fast", "--num-steps", "12", "--image-size", "64"),
    *("--judges", "none", "--shard-size", "1", "--batch-size", "1", "--threads-per-worker", "1"),
    *("--num-workers", "2", "--address", "local"),
)
ATTACK = "sweeps/attack_all.py"
NUM_ATTACKED = 240
ATTACK_OPTIONS = (
    *(
        "--images",
        f"0-{NUM_ATTACKED - 1}",
        "--methods",
        "fgsm,bim",
        "--num-steps",
        "40",
        "--shard-size",
        "12",
    ),
    *("--batch-size", "4", "--epsilons", "0,1/255,0.1", "--threads-per-worker", "1", "--num-workers", "2"),
    *("--address", "local"),
)
TRAINING = "sweeps/attribute_training.py"
TRAINING_OPTIONS = (
    *("--batch-size", "64", "--segment", "60", "--panel", "0-3", "--every", "20", "--num-workers", "2"),
    *("--methods", "gradient_x_input,occlusion,training_integrated_gradient", "--address", "local"),
)
# What may differ between two runs of the same cells.
OF_THE_RUN = {"attempt", "image_file", "perturbation_file", "clean_file", "seconds"}
SECONDS_TO_FINISH = 400.0  # a minute on an idle machine is many on a busy one


def _options(script: str) -> tuple[str, ...]:
    return {ATTACK: ATTACK_OPTIONS, TRAINING: TRAINING_OPTIONS}.get(script, OPTIONS)


class Driver:
    """A process that runs a sweep, and the processes that its Ray cluster consists of."""

    def __init__(self, script: str, output: Path, *options: str, **environment: str) -> None:
        # Ray's sockets want a short path; the path also marks every process of this driver.
        self.ray_folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as the driver
        own = {"RAY_TMPDIR": self.ray_folder, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.process = subprocess.Popen(
            [sys.executable, script, "--output", str(output), *_options(script), *options],
            cwd=REPOSITORY,
            env=os.environ | own | environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, as a shell gives each command
        )

    def wait(self) -> int:
        return self.process.wait(SECONDS_TO_FINISH)

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self, title: str = "") -> list[int]:
        """The living processes of this driver, its own among them, whose command line holds `title`."""
        mark = f"RAY_TMPDIR={self.ray_folder}\0".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (
                    mark in (folder / "environ").read_bytes()
                    and title.encode() in (folder / "cmdline").read_bytes()
                ):
                    found.append(int(folder.name))
            except OSError:  # ended meanwhile
                continue
        return found

    def is_gone(self, seconds: float = 60.0) -> bool:
        """Whether all its processes end by themselves in this time."""
        return wait_for(lambda: not self.processes(), seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        assert self.is_gone(), "a cluster outlives its driver"
        shutil.rmtree(self.ray_folder)
        self._log.close()


def wait_for(condition: Callable[[], bool], seconds: float = SECONDS_TO_FINISH) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def start() -> Iterator[Callable[..., Driver]]:
    """Starts a driver; at the end of the test none of its processes may be left."""
    drivers: list[Driver] = []

    def run(output: Path, *options: str, script: str = GENERATE, **environment: str) -> Driver:
        drivers.append(Driver(script, output, *options, **environment))
        return drivers[-1]

    yield run
    for driver in drivers:
        driver.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a sweep to which nothing happened."""
    output = tmp_path_factory.mktemp("undisturbed")
    driver = Driver(GENERATE, output)
    assert driver.wait() == 0, driver.said()
    driver.close()
    return output


def rows(run: Path) -> pa.Table:
    """All results in the order of their classes, without what may differ."""
    table = pq.read_table(run / "results").sort_by("class_index")
    return table.drop(sorted(OF_THE_RUN & set(table.column_names)))


def images(run: Path) -> dict[str, np.ndarray]:
    """The decoded images that rows name, by key."""
    decoded = {}
    for name in set(pq.read_table(run / "results")["image_file"].to_pylist()):
        for row in pq.read_table(run / "images" / name).to_pylist():
            assert row["key"] not in decoded
            decoded[row["key"]] = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
    return decoded


def maintain(*arguments: str) -> str:
    command = [sys.executable, "-m", "sweeps.store", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def check_complete(undisturbed: Path) -> Callable[[Path], None]:
    """That a run directory holds what the undisturbed one holds, once, and after `gc` nothing else."""

    def check(run: Path) -> None:
        assert (run / "_SUCCESS").exists()
        assert not list((run / "failures").glob("*"))
        expected, found = rows(undisturbed), rows(run)
        assert found["class_index"].to_pylist() == list(range(NUM_CLASSES))
        for name in expected.column_names:
            assert found[name].to_pylist() == expected[name].to_pylist(), name
        expected_images, found_images = images(undisturbed), images(run)
        assert found_images.keys() == expected_images.keys()
        assert all(np.array_equal(found_images[key], expected_images[key]) for key in expected_images)
        assert "0 problems" in maintain("verify", str(run))
        maintain("gc", str(run), "--older-than", "0")
        assert len(list((run / "images").iterdir())) == len(list((run / "results").iterdir())) == NUM_CLASSES
        assert not list((run / "_staging").glob("*"))

    return check


@pytest.fixture
def num_committed() -> Callable[[Path], int]:
    """How many shards are committed, at any moment."""
    return lambda run: sum(1 for _ in (run / "results").glob("*.parquet"))


@pytest.fixture(scope="session")
def undisturbed_attack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an adversarial sweep to which nothing happened."""
    output = tmp_path_factory.mktemp("undisturbed_attack")
    driver = Driver(ATTACK, output)
    assert driver.wait() == 0, driver.said()
    driver.close()
    return output


@pytest.fixture
def check_attack_complete(undisturbed_attack: Path) -> Callable[[Path], None]:
    """That a run directory holds the rows and images of the undisturbed one, once, and nothing else after `gc`."""

    def check(run: Path) -> None:
        assert (run / "_SUCCESS").exists()
        assert not list((run / "failures").glob("*"))
        expected, found = attacks(undisturbed_attack), attacks(run)
        assert len(found) == 2 * 3 * NUM_ATTACKED
        assert found.equals(expected)
        assert stored_images(run) == stored_images(undisturbed_attack)
        assert "0 problems" in maintain("verify", str(run))
        maintain("gc", str(run), "--older-than", "0")
        named = pq.read_table(run / "results")
        files = {*named["image_file"].to_pylist(), *named["perturbation_file"].to_pylist()} - {None}
        assert {file.name for file in (run / "images").iterdir()} == files

    return check


def attacks(run: Path) -> pa.Table:
    """All rows of an adversarial sweep in the order of their cells, without what may differ."""
    table = pq.read_table(run / "results").drop(sorted(OF_THE_RUN - {"seconds"}))
    return table.sort_by([(name, "ascending") for name in ("method", "image_index", "epsilon")])


def stored_images(run: Path) -> dict[str, bytes]:
    """The images that rows name, by key, as they are stored."""
    stored = {}
    for name in set(pq.read_table(run / "results")["perturbation_file"].to_pylist()) - {None}:
        for row in pq.read_table(run / "images" / name).to_pylist():
            assert row["key"] not in stored
            stored[row["key"]] = row["image"]["bytes"]
    return stored


@pytest.fixture(scope="session")
def undisturbed_training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a training and its attributions to which nothing happened."""
    output = tmp_path_factory.mktemp("undisturbed_training")
    driver = Driver(TRAINING, output)
    assert driver.wait() == 0, driver.said()
    driver.close()
    return output


@pytest.fixture
def check_training_complete(undisturbed_training: Path) -> Callable[[Path], None]:
    """That a run directory holds the undisturbed one's tape, bit for bit, and its rows, once."""

    def check(run: Path) -> None:
        assert (run / "_SUCCESS").exists()
        assert tape(run) == tape(undisturbed_training)
        expected, found = followed(undisturbed_training), followed(run)
        assert len(found) == 2 * 4 * 47 + 4 * 16  # each 20th of 938 updates and the first state; 16 segments
        assert found.equals(expected)
        assert "0 problems" in maintain("verify", str(run))
        maintain("gc", str(run), "--older-than", "0")
        assert len(list((run / "images").iterdir())) == len(list((run / "results").iterdir())) == 16

    return check


def tape(run: Path) -> dict[str, bytes]:
    """All checkpoints of all trainings."""
    return {str(path.relative_to(run)): path.read_bytes() for path in (run / "tapes").rglob("*.safetensors")}


def followed(run: Path) -> pa.Table:
    """All rows along a training in the order of their cells, without what may differ."""
    table = pq.read_table(run / "results").drop(["attempt", "image_file"])
    return table.sort_by([(name, "ascending") for name in ("method", "step", "image_index")]).combine_chunks()
