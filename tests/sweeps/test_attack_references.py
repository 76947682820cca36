"""Attacks by reference in the sweep: rows, names, definitions, and what results do not depend on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attrib_core import user_code
from attrib_core.attacks import ForeignAttackError, method_named
from sweeps.attack.job import AttackJob
from sweeps.attack.rows import image_table, result_table
from sweeps.attack_all import AttackOptions, attack_sweep, main
from sweeps.cli import parse_options
from sweeps.plan import Shard
from sweeps.runner import record
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep

SQUARE = """
def square(model, inputs, labels, *, epsilon, targets=None, side: int = 4):
    changed = inputs.clone()
    changed[..., :side, :side] += epsilon
    return changed.clamp(0, 1)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's file, in a folder that is not the working one."""
    path = tmp_path / "code" / "mine.py"
    path.parent.mkdir()
    path.write_text(SQUARE)
    return path


@pytest.fixture
def sweep_of(tmp_path: Path) -> Callable[..., Sweep]:
    def sweep(*arguments: str) -> Sweep:
        given = ["--output", str(tmp_path / "run"), "--images", "0-15", "--batch-size", "4", *arguments]
        return attack_sweep(parse_options(AttackOptions, given))

    return sweep


def shard_of(method: str, images: Sequence[int], epsilons: tuple[float | str, ...] = (0.05, 0.1)) -> Shard:
    axes = {"method": method, "checkpoint": "trained", "target": "untargeted", "epsilon": epsilons}
    return Shard(f"shard{images[0]}", axes, tuple((index,) for index in images))


def rows_of(sweep: Sweep, job: AttackJob, shard: Shard) -> pa.Table:
    return result_table(job.compute(shard), sweep.shared, 1, None)


@pytest.mark.parametrize(
    "method", ["foolbox:LinfPGD:steps=2", "torchattacks:Pixle:restarts=1:max_iterations=1"]
)
def test_rows_depend_on_no_worker_and_no_order(method, sweep_of) -> None:
    """As with two workers, one worker, and one that starts again after a kill in the middle."""
    sweep = sweep_of("--methods", method)
    minimum = method_named(method).seeks_minimum
    epsilons = ("minimum",) if minimum else (0.05, 0.1)
    first, second = (shard_of(method, range(start, start + 8), epsilons) for start in (0, 8))
    one = sweep.factory(sweep.shared)
    expected = [rows_of(sweep, one, shard) for shard in (first, second)]
    another, after_a_kill = sweep.factory(sweep.shared), sweep.factory(sweep.shared)
    assert rows_of(sweep, another, second).equals(expected[1])
    assert rows_of(sweep, after_a_kill, second).equals(expected[1])
    assert rows_of(sweep, after_a_kill, first).equals(expected[0])


def test_rows_of_an_epsilon_do_not_depend_on_the_others(sweep_of) -> None:
    method = "foolbox:LinfPGD:steps=2"
    sweep = sweep_of("--methods", method)
    job = sweep.factory(sweep.shared)
    together = rows_of(sweep, job, shard_of(method, range(4), (0.05, 0.1)))
    alone = rows_of(sweep, job, shard_of(method, range(4), (0.1,)))
    assert together.filter(pa.compute.equal(together["epsilon"], 0.1)).equals(alone)


def test_a_users_function_has_rows_under_its_name_without_the_path(mine, sweep_of, tmp_path) -> None:
    sweep = sweep_of(
        "--methods", f"{mine}:square:side=3,pgd:num_steps=2,pgd:num_steps=3", "--epsilons", "0,0.1"
    )
    assert sweep.requested[0]["method"] == ("mine.py:square:side=3", "pgd:num_steps=2", "pgd:num_steps=3")
    assert sweep.definitions["method pgd:num_steps=3"] == "3 steps of 2.5 epsilon / steps"
    assert sweep.definitions["method mine.py:square:side=3"].startswith("SHA-256 ")
    rows = rows_of(
        sweep, sweep.factory(sweep.shared), shard_of("mine.py:square:side=3", range(4), (0.0, 0.1))
    )
    assert set(rows["method"].to_pylist()) == {"mine.py:square:side=3"}
    assert rows["l0"].to_pylist() == [0, 9] * 4
    assert rows["num_forwards"].to_pylist() == [0.0] * 8
    assert rows["seeks_minimum"].to_pylist() == [False] * 8


def test_a_directory_refuses_changed_code_under_an_old_name(mine, sweep_of, tmp_path, capsys) -> None:
    run = RunDirectory(tmp_path / "run")
    record(run, sweep_of("--methods", f"fgsm,{mine}:square"), 8)
    user_code.forget()
    mine.write_text(SQUARE.replace("+= epsilon", "-= epsilon"))
    assert main(["--output", str(tmp_path / "run"), "--images", "0-15", "--methods", f"{mine}:square"]) == 2
    assert "method mine.py:square: its definition has changed" in capsys.readouterr().err


def test_definitions_of_our_own_methods_are_what_they_were(sweep_of) -> None:
    definitions = sweep_of("--methods", "fgsm,pgd,minimum_fgsm").definitions
    assert {name: text for name, text in definitions.items() if name.startswith("method")} == {
        "method pgd": "10 steps of 2.5 epsilon / steps",
        "method minimum_fgsm": "tolerance 3.92157e-05",
    }


def test_a_function_that_fails_is_an_error_of_the_shard(mine, sweep_of) -> None:
    mine.write_text("def square(model, inputs, labels, *, epsilon):\n    return None\n")
    sweep = sweep_of("--methods", f"{mine}:square")
    with pytest.raises(ForeignAttackError, match=r"'mine.py:square': mine.py, line 1: it returned None"):
        sweep.factory(sweep.shared).compute(shard_of("mine.py:square", range(4)))


def test_keys_of_images_are_file_names_and_differ(sweep_of) -> None:
    methods = ("bim:step_size=1/255", "bim:step_size=0.1", "bim")
    sweep = sweep_of("--methods", ",".join(methods), "--num-steps", "1", "--save-images", "all")
    job = sweep.factory(sweep.shared)
    keys = [
        key
        for each in methods
        for key in image_table(job.compute(shard_of(each, range(2))))["key"].to_pylist()
    ]
    assert len(set(keys)) == len(keys)
    assert not any("/" in key for key in keys)
    assert "bim-trained-untargeted-i000000-clean" in keys, "as before"


def test_l2_attacks_take_larger_epsilons_and_others_do_not(sweep_of) -> None:
    assert sweep_of("--methods", "pgd_l2,foolbox:L2PGD", "--epsilons", "0.5,3").requested[0]["epsilon"] == (
        0.5,
        3.0,
    )


REFUSED = {
    "method": (["--methods", "fgsm,pgd_l2", "--epsilons", "0.5,3"], r"epsilons: 3; .* \[0, 1\], .* for fgsm"),
    "norm": (["--methods", "fgm_l2", "--epsilons", "29"], r"epsilons: 29; .* \[0, 28\], in the l2 norm of fgm"),
    "setting": (["--methods", "pgd:steps=4"], r"'pgd:steps=4': no setting 'steps'; near matches are step_size"),
    "twice": (["--methods", "pgd:num_steps=4,pgd:num_steps=4"], r"'pgd:num_steps=4' is listed twice"),
    "same number": (
        ["--methods", "pgd:num_steps=10,bim,pgd:num_steps=010"],
        r"methods: 'pgd:num_steps=10', as 'pgd:num_steps=010', is listed twice",
    ),
    "same fraction": (
        ["--methods", "torchattacks:PGD:alpha=1/4,torchattacks:PGD:alpha=.25"],
        r"methods: 'torchattacks:PGD:alpha=1/4', as 'torchattacks:PGD:alpha=.25', is listed twice",
    ),
    "same epsilon": (
        ["--epsilons", "1/255,0.1,0.003921568627"],
        r"epsilons: 0.00392156862745098 and 0.003921568627 agree in nine digits, so one ε is listed twice",
    ),
    "untargeted": (["--methods", "fgsm,advlib:sdf", "--targets", "3"], r"targets: advlib:sdf takes none"),
    "no targets": (["--methods", "foolbox:GenAttack"], r"targets: foolbox:GenAttack needs some"),
    "family": (["--methods", "foolbx:LinfPGD"], r"unknown name 'foolbx:LinfPGD'; accepted: names"),
    "attack": (["--methods", "foolbox:LinfPG"], r"no attack of foolbox 'LinfPG'; near matches are LinfPGD"),
    "file": (["--methods", "nowhere.py:square"], r"no file 'nowhere.py'"),
    "targets": (["--methods", "torchattacks:APGD", "--targets", "3"], r"targets: torchattacks:APGD takes none"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_before_any_work(arguments, message, sweep_of) -> None:
    with pytest.raises(ValueError, match=message):
        sweep_of(*arguments)


def test_committed_rows_and_images_are_found_again(mine, sweep_of, tmp_path) -> None:
    sweep = sweep_of("--methods", f"{mine}:square", "--save-images", "0-1")
    job = sweep.factory(sweep.shared)
    job.commit(job.compute(shard_of("mine.py:square", range(4))), 1)
    rows = pq.read_table(tmp_path / "run" / "results" / "shard0.parquet")
    (file,) = (tmp_path / "run" / "images").iterdir()
    stored = set(pq.read_table(file)["key"].to_pylist())
    assert {key for key in rows["image_key"].to_pylist() if key} <= stored
    assert json.loads(json.dumps(sweep.definitions)) == sweep.definitions


def test_a_plan_has_the_time_of_each_method(sweep_of) -> None:
    methods = "foolbox:LinfPGD:steps=1,foolbox:LinfDeepFoolAttack:steps=1,minimum_fgsm,pgd_l2:num_steps=1"
    with pytest.raises(ValueError, match="for foolbox:LinfPGD:steps=1"):
        sweep_of("--methods", methods, "--epsilons", "0,2")
    without_max_norm = methods.partition(",")[2]
    seconds = sweep_of("--methods", without_max_norm, "--epsilons", "0,2").warm_up()
    assert list(seconds) == without_max_norm.split(",")
    assert min(seconds.values()) > 0
