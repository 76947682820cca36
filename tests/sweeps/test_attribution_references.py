"""attribute_all with methods of others: what is recorded, what reaches an actor, what is refused."""

import pickle
from pathlib import Path

import pytest
import torch

from attrib_core.attribution import attribute
from attrib_core.classifiers import load_classifier
from attrib_core.prepared import prepare
from attrib_core.user_code import forget, install, taken
from sweeps.attribute.rows import result_table
from sweeps.attribute_all import AttributeOptions, attribute_sweep, main
from sweeps.attribute_training import main as training_main
from sweeps.plan import Plan, Shard
from sweeps.store import RunDirectory
from sweeps.store.verification import verify
from sweeps.sweep import Sweep

MINE = """
def attr(model, images, targets, *, factor: float = 1.0):
    return images * factor
"""
METHODS = "integrated_gradients:num_steps=3,captum:LayerGradCam,{file}:attr:factor=2,integrated_gradients"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture
def sweep(file: Path, tmp_path: Path) -> Sweep:
    text = METHODS.format(file=file)
    return attribute_sweep(
        AttributeOptions(output=str(tmp_path / "run"), methods=text, images="0-5", num_steps=5)
    )


def first_shard(sweep: Sweep) -> Shard:
    plan = Plan(fingerprint="0", kinds=sweep.kinds)
    return next(iter(plan.grow(sweep.requested[0], sweep.shard_size).shards()))


def test_what_is_recorded_names_the_code(sweep: Sweep) -> None:
    definitions = {name: text for name, text in sweep.definitions.items() if name != "weights"}
    code = definitions.pop("method mine.py:attr:factor=2")
    assert code.startswith("SHA-256 ")
    assert definitions == {
        "method integrated_gradients:num_steps=3": "3 steps from black",
        "method captum:LayerGradCam": "captum 0.9.0",
        "method integrated_gradients": "5 steps from black",
    }
    assert any(note.startswith("captum:LayerGradCam: layer=") for note in sweep.notes)


def test_an_actor_that_has_the_code_only_then_computes_the_same(sweep: Sweep) -> None:
    codes, sent = taken(), pickle.dumps((sweep.factory, first_shard(sweep)))
    forget()
    factory, shard = pickle.loads(sent)
    install(codes)
    job = factory(sweep.shared)
    table = result_table(job.compute(shard), sweep.shared, 1, None).to_pandas()
    methods = list(dict.fromkeys(table["method"]))
    assert methods == [*METHODS.format(file="mine.py").split(",")]
    images, labels = (read(range(6), torch.device("cpu")) for read in (job._actor.images, job._actor.labels))
    model = prepare(load_classifier("fashion_deep"), device="cpu")
    found = attribute(
        model, images, labels, methods, settings=sweep.factory.args[0].attribution, keys=range(6)
    )
    for method, rows in table.groupby("method"):
        scales = found.values[method].abs().amax((1, 2, 3)).tolist()
        assert rows["attribution_scale"].tolist() == pytest.approx(scales, rel=1e-4), method
        assert rows["completeness_gap"].notna().all() == method.startswith("integrated_gradients"), method


def test_a_run_is_refused_once_the_code_has_changed(file, tmp_path, capsys, local_cluster) -> None:
    arguments = ["--methods", f"{file}:attr", "--images", "0-3", "--num-workers", "1", "--output"]
    assert main([*arguments, str(tmp_path / "run")]) == 0
    assert verify(RunDirectory(str(tmp_path / "run"))).problems == []
    forget()
    file.write_text(MINE.replace("images * factor", "images + factor"))
    assert main([*arguments, str(tmp_path / "run")]) == 2
    assert "method mine.py:attr: its definition has changed" in capsys.readouterr().err


MISTAKES = {
    "captum:DeepLft": "methods='captum:DeepLft': captum: no method 'DeepLft'; near matches are DeepLift",
    "nowhere.py:attr": "methods='nowhere.py:attr': no file 'nowhere.py'",
    "smooth_grad:noise=1,smooth_grad:noise=1": "'smooth_grad:noise=1' is listed twice",
    "smooth_grad:noise=1/4,smooth_grad:noise=.25": "as 'smooth_grad:noise=.25', is listed twice",
    "captum:KernelShap:n_samples=10,captum:KernelShap:n_samples=010": "as 'captum:KernelShap:n_samples=010', is",
    "mine.py": "methods='mine.py': accepted is mine.py:NAME",
    "occlusion:window_size=29": "methods='occlusion:window_size=29': window_size=29: accepted are 1 to 28",
    "occlusion:stride=5": "methods='occlusion:stride=5': stride=5: accepted are 1 to the window's 4",
    "captum:Occlusion:window_size=29": "window_size=29; accepted are 1 to 28",
    "captum:LayerGradCam:layer=conv99": "no layer 'conv99'; near matches are conv9",
}


@pytest.mark.parametrize(("method", "message"), MISTAKES.items())
def test_a_mistake_is_one_line(method, message, tmp_path, capsys) -> None:
    assert main(["--methods", method, "--output", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "method", ["captum:DeepLft", "captum:LayerGradCam:layer=conv99", "occlusion:stride=5"]
)
def test_a_training_refuses_the_same(method, tmp_path, capsys) -> None:
    assert training_main(["--methods", method, "--output", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert MISTAKES[method] in printed
    assert printed.count("\n") == 1


def test_a_method_that_explains_no_loss_is_refused_by_name(tmp_path, capsys) -> None:
    arguments = ["--methods", "captum:DeepLift", "--target", "predicted,loss", "--output", str(tmp_path)]
    assert main(arguments) == 2
    assert "methods='captum:DeepLift': it does not explain target=loss" in capsys.readouterr().err
