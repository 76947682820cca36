"""Run directories, tapes and weights that name a user's code: whoever reads them imports nothing."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch

from analysis.report.__main__ import main as report
from attrib_core.classifiers import load_classifier
from attrib_core.user_code import forget, taken
from sweeps.attack_all import main as attack
from sweeps.attribute_training import main as attribute_training
from sweeps.store.__main__ import main as maintain

RUNS = Path(__file__).parents[1] / "data" / "runs_without_axis_kinds"
EVIL = "evil.py:Net"
PROGRAM = "from pathlib import Path\nPath('it-has-run').touch()\ndef Net(**settings): ...\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a file of code; nothing may run it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(PROGRAM)
    yield tmp_path
    assert not (tmp_path / "it-has-run").exists()
    assert not taken()
    forget()


def test_the_program_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(PROGRAM)
    exec(compile(PROGRAM, "evil.py", "exec"), {})
    assert (tmp_path / "it-has-run").exists()


def evil(run: Path) -> Path:
    """Return the run directory with the code's name wherever a name of ours stood."""
    for file in run.rglob("*.json"):
        text = file.read_text()
        for name in (
            "efficientnet_lite0",
            "fashion_deep",
            "fgsm",
            "gradient_x_input",
            "fashion_mnist",
            "blur_resize",
        ):
            text = text.replace(f'"{name}"', f'"{EVIL}"').replace(f"method {name}", f"method {EVIL}")
        file.write_text(text)
    return run


@pytest.fixture(params=sorted(path.name for path in RUNS.iterdir()))
def run(request: pytest.FixtureRequest, folder: Path) -> Path:
    return evil(Path(shutil.copytree(RUNS / request.param, folder / request.param)))


@pytest.mark.parametrize(
    "read",
    [
        lambda run: report([str(run), "--output", str(run.parent / "report")]),
        lambda run: maintain(["verify", str(run)]),
        lambda run: maintain(["status", str(run)]),
        lambda run: maintain(["gc", str(run), "--older-than", "0"]),
        lambda run: maintain(["export-webdataset", str(run), str(run.parent / "tar")]),
    ],
    ids=["report", "verify", "status", "gc", "export"],
)
def test_reading_a_run_directory_imports_nothing(run: Path, read: Callable[[Path], int]) -> None:
    before = (run / "sweep.json").read_text()
    read(run)
    assert (run / "sweep.json").read_text() == before


def test_continuing_a_directory_of_another_model_imports_nothing(folder: Path, capsys) -> None:
    run = evil(Path(shutil.copytree(RUNS / "attack", folder / "attack")))
    for plan in ([], ["--plan"]):
        assert attack(["--output", str(run), "--images", "0-5", *plan]) == 2
        assert EVIL in capsys.readouterr().err


def test_checkpoints_of_anothers_tape_import_nothing(folder: Path, capsys) -> None:
    run = evil(Path(shutil.copytree(RUNS / "attribute_training", folder / "training")))
    weights = next((run / "tapes").iterdir()) / "checkpoints" / "000000004.safetensors"
    weights.parent.mkdir(exist_ok=True)
    state = load_classifier("fashion_deep").network.state_dict()
    safetensors.torch.save_file(state, weights, metadata={"model": EVIL, "__class__": EVIL})
    command = ["--output", str(folder / "out"), "--checkpoints", str(run), "--images", "0-1", "--plan"]
    assert attack([*command, "--methods", "fgsm", "--epsilons", "0.1"]) == 0, capsys.readouterr().err


def test_continuing_anothers_training_imports_nothing(folder: Path, capsys, write_fashion_mnist) -> None:
    run = evil(Path(shutil.copytree(RUNS / "attribute_training", folder / "training")))
    (folder / "data").mkdir()
    data = write_fashion_mnist(folder / "data", num_train=64, num_test=10)
    command = ["--output", str(run), "--data-root", str(data), "--panel", "0-3", "--segment", "4"]
    assert attribute_training(command) == 2
    assert "evil" in capsys.readouterr().err


def test_weights_that_name_a_class_import_nothing(folder: Path) -> None:
    file = folder / "weights.safetensors"
    state = load_classifier("fashion_deep").network.state_dict()
    safetensors.torch.save_file(state, file, metadata={"model": EVIL, "hyper_parameters": EVIL})
    load_classifier("fashion_deep", weights=str(file))
    assert not [name for name in sys.modules if "evil" in name]
