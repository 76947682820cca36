"""`--evaluate-on`: victims as columns of results/, victims that are added later, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from analysis import load
from attrib_core.attacks import transfer
from attrib_core.classifiers import load_classifier
from sweeps.attack import job as attack_job
from sweeps.attack_all import main
from sweeps.store import RunDirectory
from sweeps.store.__main__ import main as store

pytestmark = pytest.mark.usefixtures("in_this_process")
OPTIONS = ["--images", "0-11", "--shard-size", "6", "--save-images", "all", "--batch-size", "12"]
FACTS = ("victim_prediction", "victim_margin", "victim_clean_prediction")
KEYS = ["method", "image_index", "epsilon"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """References to three networks of one architecture, by a short name."""
    folder = tmp_path_factory.mktemp("weights")
    state, found = load_classifier("fashion_deep").network.state_dict(), {}
    for number, name in enumerate(("a", "b", "c")):
        noise = torch.Generator().manual_seed(number)
        other = {
            key: value + 0.02 * torch.randn(value.shape, generator=noise) for key, value in state.items()
        }
        safetensors.torch.save_file(other, folder / f"{name}.safetensors")
        found[name] = f"fashion_deep:weights={folder / name}.safetensors"
    return found


def named(short: str) -> str:
    return f"fashion_deep:weights={short}.safetensors"


@pytest.fixture
def attack(tmp_path: Path, weights: dict[str, str]) -> Callable[..., Path]:
    """Runs the sweep with victims by their short names; the run directory."""

    def run(victims: str = "", *more: str, output: str = "run", status: int = 0) -> Path:
        given = ["--evaluate-on", ",".join(weights[each] for each in victims)] if victims else []
        methods = [] if "--methods" in more else ["--methods", "fgsm,minimum_fgsm"]
        epsilons = [] if "--epsilons" in more else ["--epsilons", "0,8/255"]
        place = tmp_path / output
        assert main(["--output", str(place), *OPTIONS, *given, *methods, *epsilons, *more]) == status
        return place

    return run


def rows(run: Path) -> pd.DataFrame:
    return load.results(run).sort_values(KEYS, ignore_index=True)


def victims_of(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[sorted(name for name in frame.columns if name.startswith("victim_"))]


def test_rows_hold_what_each_victim_answers_to_the_stored_images(attack, weights) -> None:
    run = attack("ab")
    frame = pd.read_parquet(run / "results")
    assert (run / "_SUCCESS").exists()
    assert not (run / "victims").exists()
    assert set(victims_of(frame).columns) == {f"{fact}.{named(each)}" for fact in FACTS for each in "ab"}
    frame = rows(run)
    fgsm = frame[(frame["method"] == "fgsm") & (frame["epsilon"] > 0)]
    images = torch.from_numpy(np.stack(load.images(run, fgsm["image_key"]))).permute(0, 3, 1, 2) / 255
    clean = torch.from_numpy(np.stack(load.images(run, fgsm["clean_key"]))).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(fgsm["label"].to_numpy(dtype=np.int64))
    victims = {named(each): load_classifier(weights[each]) for each in "ab"}
    for name, found in transfer(victims, clean, images[:, None], labels).items():
        assert fgsm[f"victim_prediction.{name}"].tolist() == found.prediction[:, 0].tolist()
        assert fgsm[f"victim_clean_prediction.{name}"].tolist() == found.clean_prediction.tolist()
        # Stored images are rounded to 8 bits: eight levels of 255 stay on the grid, but for float32.
        np.testing.assert_allclose(fgsm[f"victim_margin.{name}"], found.margin[:, 0], atol=1e-3)


def test_a_victim_that_is_added_later_has_the_rows_of_one_that_was_there(attack, monkeypatch) -> None:
    expected = rows(attack("ab", output="together"))
    run = attack("a")
    before = {path: path.read_bytes() for path in (run / "results").iterdir()}
    shown: list[tuple[str, ...]] = []
    victims_of_shard = attack_job.victims_of
    monkeypatch.setattr(
        attack_job, "victims_of", lambda *given: shown.append(victims_of_shard(*given)) or shown[-1]
    )
    attack("b")  # alone: the others' rows are there
    assert set(shown) == {(named("b"),)}
    assert (run / "_SUCCESS").exists()
    assert {path: path.read_bytes() for path in (run / "results").iterdir()} == before
    pd.testing.assert_frame_equal(victims_of(rows(run)), victims_of(expected))
    table = pd.read_parquet(run / "victims")
    assert len(table) == len(expected)
    assert set(table["victim"]) == {named("b")}
    # Growth: another victim, then another ε and method for all of them.
    attack("c")
    attack("abc", "--epsilons", "0,8/255,16/255", "--methods", "fgsm,minimum_fgsm,bim:num_steps=2")
    grown = rows(run)
    assert len(grown) == 12 * (3 + 1 + 3)
    assert grown[[f"victim_prediction.{named(each)}" for each in "abc"]].notna().all().all()
    table = pd.read_parquet(run / "victims")
    assert len(table) == 2 * len(grown)
    assert not table.duplicated(["victim", *KEYS]).any()
    together = rows(
        attack("abc", "--epsilons", "0,8/255,16/255", "--methods", "fgsm,minimum_fgsm,bim:num_steps=2",
               output="at once")
    )  # fmt: skip
    pd.testing.assert_frame_equal(victims_of(grown), victims_of(together))
    assert store(["verify", str(run)]) == 0


def test_an_addition_that_was_killed_goes_on(attack, monkeypatch) -> None:
    run = attack("a")
    commit = RunDirectory.commit

    def fail_on_the_second(self: RunDirectory, shard_id: str, *given: object) -> bool:
        if self.rows == "victims" and any(True for _ in self.results()):
            raise KeyboardInterrupt
        return commit(self, shard_id, *given)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "commit", fail_on_the_second)
        attack("bc", status=130)
    assert not (run / "_SUCCESS").exists()
    partial = load.results(run)
    assert 0 < partial[f"victim_prediction.{named('b')}"].notna().sum() < len(partial)
    assert len(pd.read_parquet(run / "victims"))  # readable at every moment
    attack("bc")
    assert (run / "_SUCCESS").exists()
    expected = rows(attack("abc", output="together"))
    pd.testing.assert_frame_equal(victims_of(rows(run)), victims_of(expected))


def test_load_gives_the_columns_that_are_asked_for(attack) -> None:
    run = attack("a")
    attack("b")
    names = [f"victim_margin.{named('b')}", "label", f"victim_prediction.{named('a')}"]
    frame = load.results(run, names)
    assert list(frame.columns) == names
    (portion,) = load.result_portions(run, names)
    pd.testing.assert_frame_equal(portion, frame)
    assert set(names) <= set(load.column_names(run))
    with pytest.raises(ValueError, match=r"column 'victim_margin.nobody' is not in the results"):
        load.results(run, ["victim_margin.nobody"])


def test_verify_and_status_know_the_rows_of_victims(attack, capsys) -> None:
    run = attack("")
    attack("a")
    capsys.readouterr()
    assert store(["status", str(run)]) == 0
    assert "victims     4 shards, 36 rows" in capsys.readouterr().out
    assert store(["gc", str(run), "--older-than", "0"]) == 0
    assert store(["verify", str(run)]) == 0
    assert "victims: 4 shards, 36 rows" in capsys.readouterr().out
    first, *_ = sorted((run / "victims").iterdir())
    shutil.copy(first, first.with_name("copy-000000000000.parquet"))
    assert store(["verify", str(run)]) == 1
    out = capsys.readouterr().out
    assert f"victims/copy-000000000000.parquet: its rows are of shard '{first.stem}'" in out
    assert "keys are in victims/" in out


def test_a_run_without_victims_is_recorded_as_before(attack) -> None:
    record = json.loads((attack("") / "sweep.json").read_text())
    assert "evaluate_on" not in record["settings"]
    assert "beside" not in record
    assert not [name for name in record["definitions"] if name.startswith("victim")]


@pytest.mark.parametrize(
    ("victims", "words"),
    {
        "unknown": ("nobody", "evaluate_on: model='nobody': unknown"),
        "itself": ("fashion_deep", "'fashion_deep' is the model that the images are made for"),
        "twice": ("{a},{a}", "is listed twice"),
        "two files of one name": ("{a},{copy}", f"two are called '{named('a')}'"),
        "classes": ("efficientnet_lite0", "'efficientnet_lite0' has 1000 classes, not 10 as 'fashion_deep'"),
        "no file": ("fashion_deep:weights=nothing.pth", "weights='nothing.pth': neither a file nor weights"),
    }.values(),
)
def test_victims_that_cannot_be_are_refused_before_any_work(
    victims, words, weights, tmp_path, capsys
) -> None:
    (tmp_path / "copy").mkdir()
    copy = shutil.copy(weights["b"].partition("=")[2], tmp_path / "copy" / "a.safetensors")
    text = victims.format(**weights, copy=f"fashion_deep:weights={copy}")
    assert main(["--output", str(tmp_path / "run"), *OPTIONS, "--evaluate-on", text]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_changed_weights_under_an_old_name_are_refused(attack, weights, tmp_path, capsys) -> None:
    attack("a")
    shutil.copy(weights["b"].partition("=")[2], tmp_path / "a.safetensors")
    again = [*OPTIONS, "--methods", "fgsm", "--evaluate-on", f"fashion_deep:weights={tmp_path}/a.safetensors"]
    assert main(["--output", str(tmp_path / "run"), *again]) == 2
    assert f"victim {named('a')}: its definition has changed" in capsys.readouterr().err


def test_new_rows_need_all_victims_of_the_directory(attack, capsys) -> None:
    attack("a")
    attack("b")
    capsys.readouterr()
    attack("a", "--epsilons", "0,8/255,0.1", status=2)
    error = capsys.readouterr().err
    assert f"evaluate_on: the directory has victims that this command does not name, {named('b')}" in error
    attack("", status=0)  # nothing is lacking


def test_every_set_of_weights_has_a_name(weights, tmp_path) -> None:
    first = load_classifier(weights["a"])
    assert first.name == named("a")
    with pytest.raises(ValueError, match="names weights too; accepted is one of the two"):
        load_classifier(weights["a"], weights="untrained")
    assert first.digest == load_classifier("fashion_deep", weights=weights["a"].partition("=")[2]).digest


def test_the_model_may_be_named_with_its_weights(weights, attack) -> None:
    run = attack("b", "--model", weights["a"], "--methods", "fgsm")
    frame = pd.read_parquet(run / "results")
    assert set(frame["model"]) == {"fashion_deep"}
    assert set(frame["model_digest"]) == {load_classifier(weights["a"]).digest}
