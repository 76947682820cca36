"""A researcher's own files through the sweeps: model, data and attack in actors that have no copy of them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.success_rates import main as success_rates
from attrib_core.user_code import forget
from sweeps.attack_all import main as attack
from sweeps.attribute_all import main as attribute
from sweeps.generate_all import main as generate

pytestmark = pytest.mark.long  # two actors, a kill, and the files of the user in each

NET = """
import torch
from torch import nn

def make_net(width: int = 4):
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, width, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, 10))
"""
DATA = """
import torch

def noise(count: int = 24):
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return [(image, index % 10) for index, image in enumerate(images)]
"""
# It is gone as soon as the driver has imported it, kills one worker, and draws from the global generator.
STEPS = """
import os
from pathlib import Path
import torch

Path({original!r}).unlink(missing_ok=True)

def steps(model, inputs, labels, *, epsilon, targets=None, count: int = 2):
    if Path({original!r}).with_name("kill").exists():
        Path({original!r}).with_name("kill").unlink()
        os._exit(1)
    images = inputs
    for _ in range(count):
        images = images.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(images), labels, reduction="sum")
        sign = torch.autograd.grad(loss, images)[0].sign()
        images = images + epsilon / count * sign * (torch.rand_like(images) > 0.25)
    return images.detach().clamp(0, 1)
"""
MAPS = """
import torch

def squared(model, images, targets, power: int = 2):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)[0] ** power
"""
RECIPES = """
from attrib_core.generation import RECIPES

def short(num_steps: int = 3):
    return RECIPES["plain"].with_num_steps(num_steps)
"""
FILES = {"net.py": NET, "data.py": DATA, "steps.py": STEPS, "maps.py": MAPS, "recipes.py": RECIPES}
METHODS = "fgsm,steps.py:steps:count=3,torchattacks:PGD:steps=2,foolbox:L2DeepFoolAttack:steps=3"
OF_THE_RUN = ["attempt", "image_file", "perturbation_file", "clean_file"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def own_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with all files, which nobody has read yet."""
    for name, text in FILES.items():
        (folder / name).write_text(text.replace("{original!r}", repr(str(folder / name))))
    monkeypatch.chdir(folder)
    forget()
    return folder


def options(output: Path, **changed: str) -> list[str]:
    named = {
        "output": str(output),
        "model": "net.py:make_net:width=6",
        "image-size": "28",
        "dataset": "data.py:noise",
        "num-workers": "2",
        "threads-per-worker": "1",
    } | changed
    return [word for name, value in named.items() for word in (f"--{name}", value)]


def attack_options(output: Path, **changed: str) -> list[str]:
    shards = {"methods": METHODS, "epsilons": "2/255,0.1", "shard-size": "8", "save-images": "0-1"}
    return options(output, **(shards | changed))


def rows(run: Path) -> pd.DataFrame:
    frame = pd.read_parquet(run / "results").drop(columns=OF_THE_RUN)
    return frame.sort_values(["method", "image_index", "epsilon"]).reset_index(drop=True)


@pytest.fixture
def finished(local_cluster: None, own_files: Path) -> Path:
    """A run of two actors, one of which is killed in the middle; made once."""
    run = own_files / "attack"
    if not run.exists():
        (own_files / "kill").touch()
        assert attack(attack_options(run)) == 0
        assert not (own_files / "kill").exists()
        assert not (own_files / "steps.py").exists()
        forget()
    return run


def test_rows_are_the_same_in_two_actors_with_a_kill_and_in_one_worker(
    finished, own_files, in_this_process
) -> None:
    alone = own_files / "alone"
    (own_files / "steps.py").write_text(STEPS.replace("{original!r}", repr(str(own_files / "steps.py"))))
    assert attack(attack_options(alone)) == 0
    pd.testing.assert_frame_equal(rows(finished), rows(alone), check_exact=True)


def test_the_rows_say_what_was_chosen(finished) -> None:
    frame = rows(finished)
    assert set(frame["method"]) == set(METHODS.split(","))
    assert set(frame["model"]) == {"net.py:make_net:width=6"}
    assert set(frame["dataset"]) == {"data.py:noise"}
    assert len(frame) == 24 * (3 * 2 + 1)
    counted = frame.groupby("method")[["num_forwards", "num_backwards"]].max()
    assert counted.loc["fgsm"].tolist() == [1, 1]
    assert counted.loc["steps.py:steps:count=3"].tolist() == [3, 3]
    assert counted.loc["torchattacks:PGD:steps=2"].tolist() == [2, 2]


def test_analysis_needs_none_of_the_files(finished, own_files, capsys) -> None:
    for name in FILES:
        (own_files / name).unlink(missing_ok=True)
    success_rates([str(finished), "--by", "method"])
    assert "steps.py:steps:count=3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("steps.py", "0.25", "0.5", "method steps.py:steps:count=3: its definition has changed"),
        ("net.py", "nn.ReLU()", "nn.Tanh()", "model net.py:make_net:width=6: its definition has changed"),
        ("data.py", "% 10", "% 9", "dataset='data.py:noise': since "),
        ("data.py", "import torch\n", "import torch  # torch\n", "dataset data.py:noise: its definition"),
    ],
)
def test_changed_code_under_an_old_name_is_refused(
    finished, own_files, capsys, file, old, new, words
) -> None:
    before = sorted(finished.rglob("*.parquet"))
    path = own_files / file
    path.write_text(path.read_text().replace(old, new))
    assert attack(attack_options(finished, epsilons="2/255,0.1,0.2")) == 2
    assert words in capsys.readouterr().err
    assert sorted(finished.rglob("*.parquet")) == before


def test_a_run_grows_by_another_attack_of_the_user(finished, own_files, in_this_process) -> None:
    grown = Path(shutil.copytree(finished, own_files / "grown"))
    (own_files / "more.py").write_text("def none(model, inputs, labels, *, epsilon):\n    return inputs\n")
    assert attack(attack_options(grown, methods=f"{METHODS},more.py:none")) == 0
    frame = rows(grown)
    added = frame[frame["method"] == "more.py:none"]
    assert (added["linf"] == 0).all()
    pd.testing.assert_frame_equal(
        frame[frame["method"] != "more.py:none"].reset_index(drop=True), rows(finished), check_exact=True
    )


def test_an_attack_that_fails_is_quarantined_with_the_line_of_its_file(
    own_files, in_this_process, capsys
) -> None:
    (own_files / "bad.py").write_text(
        "def late(model, inputs, labels, *, epsilon):\n"
        "    if epsilon > 0.05:\n"
        "        raise KeyError('momentum')\n"
        "    return inputs\n"
    )
    run = own_files / "failing"
    assert attack(attack_options(run, methods="fgsm,bad.py:late", **{"max-attempts": "1"})) == 1
    failures = "".join(file.read_text() for file in (run / "failures").iterdir())
    assert "bad.py" in failures
    assert "line 3" in failures
    assert set(pd.read_parquet(run / "results")["method"]) == {"fgsm"}


def test_attributions_and_recipes_of_the_user(own_files, in_this_process) -> None:
    maps = own_files / "maps"
    methods = "gradient,maps.py:squared,maps.py:squared:power=4,captum:Saliency"
    assert attribute(options(maps, methods=methods)) == 0
    frame = pd.read_parquet(maps / "results")
    assert set(frame["method"]) == set(methods.split(","))
    images = own_files / "images"
    recipe = {"recipes": "recipes.py:short:num_steps=2", "classes": "0-1", "judges": "none"}
    chosen = options(images, **recipe)
    del chosen[chosen.index("--dataset") : chosen.index("--dataset") + 2]
    assert generate(chosen) == 0
    made = pd.read_parquet(images / "results")
    assert made["num_steps"].tolist() == [2, 2]
    assert set(made["recipe"]) == {"recipes.py:short:num_steps=2"}


def test_a_folder_of_code_travels_to_actors(
    local_cluster, own_files, tmp_path, write_code: Callable[[Path], None]
) -> None:
    write_code(own_files / "lab")
    run = tmp_path / "run"
    chosen = attack_options(run, model="lab_nets.deep:make", methods="lab_attacks.py:still", code="lab")
    assert attack([*chosen, "--images", "0-7"]) == 0
    assert (pd.read_parquet(run / "results")["linf"] == 0).all()


@pytest.fixture
def write_code() -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "lab_nets").mkdir(parents=True, exist_ok=True)
        (folder / "lab_nets" / "__init__.py").write_text("")
        (folder / "lab_nets" / "deep.py").write_text(NET.replace("make_net", "make"))
        (folder / "lab_parts.py").write_text("still = 0\n")
        (folder / "lab_attacks.py").write_text(
            "from lab_parts import still as step\n"
            f"assert not __file__.startswith({os.fspath(folder.resolve())!r}), __file__\n"
            "def still(model, inputs, labels, *, epsilon):\n    return inputs + step\n"
        )

    return write
