"""Files of others that hold a program instead of data: each reader refuses them, and the program does not run."""

import io
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from analysis import load
from attrib_core.classifiers import read_checkpoint
from attrib_core.datasets import load_dataset
from attrib_core.execution import choose_execution
from attrib_core.training import Tape, TapeError, Trainer
from attrib_core.training.tape import FACTS, FOLDERS, HEADER, OPTIMIZER, WEIGHTS
from sweeps.attack_all import main as attack
from sweeps.attribute_training import AttributeTrainingOptions, read_inputs
from sweeps.store import RunDirectory
from sweeps.store.__main__ import main as maintain


class Program:
    """Makes a file as it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "the-program-has-run"


@pytest.fixture
def programs(marker: Path) -> dict[str, bytes]:
    """A program in each form in which weights have been passed around, and in the bytes of tensors."""
    archive = io.BytesIO()
    torch.save({"weight": Program(marker)}, archive)
    header = json.dumps({FACTS: "{}"}).encode()
    tensors = len(header).to_bytes(8, "little") + header + pickle.dumps(Program(marker))
    plain = pickle.dumps({"weight": Program(marker)})
    return {"pickle": plain, "torch archive": archive.getvalue(), "safetensors": tensors}


@pytest.fixture(params=["pickle", "torch archive", "safetensors"])
def program(request: pytest.FixtureRequest, programs: dict[str, bytes]) -> bytes:
    return programs[request.param]


@pytest.fixture(autouse=True)
def _no_program_runs(marker: Path) -> Iterator[None]:
    yield
    assert not marker.exists()


def test_the_program_would_run(marker: Path) -> None:
    pickle.loads(pickle.dumps(Program(marker)))
    assert marker.exists()
    marker.unlink()


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_weights(program: bytes, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(program)
    with pytest.raises(ValueError, match=f"{file.name}'"):
        read_checkpoint("fashion_deep", weights=str(file))


def test_a_folder_of_checkpoints(program: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "step-00000001.safetensors").write_bytes(program)
    assert attack(["--output", str(tmp_path / "run"), "--checkpoints", str(folder)]) == 2
    assert "step-00000001.safetensors" in capsys.readouterr().err


@pytest.fixture
def tape(tmp_path: Path, write_fashion_mnist: Callable[..., Path]) -> tuple[Tape, Trainer, Path]:
    """A tape with one checkpoint, its trainer, and its folder."""
    (tmp_path / "data").mkdir()
    root = write_fashion_mnist(tmp_path / "data", num_train=64, num_test=4)
    inputs = read_inputs(AttributeTrainingOptions(output="unused", data_root=root, segment=2))
    [trial] = inputs.trials.values()
    trainer = inputs.trainer(trial, choose_execution("cpu"))
    run = RunDirectory(tmp_path / "run")
    tape = Tape.begin(run.files, trial.tape_folder, inputs.header(trial, device="cpu", threads=1))
    tape.write(trainer)
    return tape, trainer, tmp_path / "run" / trial.tape_folder


@pytest.mark.parametrize("kind", [WEIGHTS, OPTIMIZER])
def test_a_tapes_checkpoint(kind: str, programs: dict[str, bytes], tape: tuple[Tape, Trainer, Path]) -> None:
    opened, trainer, folder = tape
    for program in programs.values():
        (folder / FOLDERS[kind] / "step-00000000.safetensors").write_bytes(program)
        with pytest.raises(TapeError, match="damaged or cut short"):
            opened.restore(trainer, 0)


def test_a_tapes_header(programs: dict[str, bytes], tape: tuple[Tape, Trainer, Path], tmp_path: Path) -> None:
    _, _, folder = tape
    for program in programs.values():
        (folder / HEADER).write_bytes(program)
        with pytest.raises(TapeError, match="it is no tape's header"):
            Tape.open(RunDirectory(tmp_path / "run").files, str(folder.relative_to(tmp_path / "run")))


@pytest.fixture
def run(tmp_path: Path, commit_shard: Callable[..., tuple[str, bool]]) -> Path:
    """A run directory with a shard, of which a test replaces a file."""
    directory = RunDirectory(tmp_path / "run")
    directory.update_sweep(lambda _sweep: {"sweep": "generate"})
    commit_shard(directory, "plain-0", [0, 1])
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["results", "images"])
def test_a_parquet_file_of_a_run_directory(
    kind: str, program: bytes, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [file] = (run / kind).iterdir()
    file.write_bytes(program)
    with pytest.raises(ValueError, match=r"plain-0.* cannot be read"):
        load.images(run, ["plain-c0"])
    assert maintain(["verify", str(run)]) == 1
    assert "cannot be read" in capsys.readouterr().out
    assert maintain(["export-webdataset", str(run), str(tmp_path / "export")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_sweep_json(program: bytes, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "sweep.json").write_bytes(program)
    assert maintain(["status", str(run)]) == 2
    assert "sweep.json is no JSON object" in capsys.readouterr().err


def test_a_column_type_that_says_how_to_unpickle_it(run: Path, marker: Path) -> None:
    """As Arrow files could until pyarrow 14 (CVE-2023-47248)."""
    [file] = (run / "results").iterdir()
    table = pq.read_table(file)
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Program(marker)),
    }
    index = table.schema.get_field_index("class_name")
    field = pa.field("class_name", pa.string(), metadata=extension)
    pq.write_table(table.set_column(index, field, table["class_name"]), file)
    assert load.results(run)["class_name"].tolist() == ["name", "name"]


def test_a_parquet_shard_of_a_data_set(program: bytes, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/test-00000.parquet").write_bytes(program)
    with pytest.raises(ValueError, match=r"test-00000\.parquet"):
        load_dataset(f"parquet:{tmp_path}/data")
