"""What a cluster's configuration says in the environment stands in for options that a command leaves out."""

import pytest

from cluster.session import Session
from sweeps.attack_all import AttackOptions
from sweeps.cli import parse_options
from sweeps.generate_all import GenerateOptions
from sweeps.runner import pool_options

# As the first command of a cluster that scales with demand finds it: a head that takes no work.
EMPTY_CLUSTER = Session("auto", is_local=False, num_cpus=0.0, num_gpus=0.0)


@pytest.fixture
def cluster_environment(monkeypatch):
    monkeypatch.setenv("ATTRIB_SWEEPS_RUNS", "s3://bucket/runs/")
    monkeypatch.setenv("ATTRIB_SWEEPS_NUM_WORKERS", "8")
    monkeypatch.setenv("ATTRIB_SWEEPS_GPUS_PER_WORKER", "0.5")


def test_without_a_cluster_runs_are_in_the_working_folder() -> None:
    assert parse_options(GenerateOptions, []).output == "runs/generate"
    assert parse_options(AttackOptions, []).output == "runs/attack"


def test_runs_go_where_the_environment_says(cluster_environment) -> None:
    assert parse_options(GenerateOptions, []).output == "s3://bucket/runs/generate"
    assert parse_options(AttackOptions, []).output == "s3://bucket/runs/attack"


def test_workers_are_asked_for_before_there_is_room_for_them(cluster_environment) -> None:
    workers = pool_options(parse_options(GenerateOptions, []), EMPTY_CLUSTER)
    assert (workers.num_workers, workers.gpus_per_worker, workers.threads_per_worker) == (8, 0.5, 1)


def test_the_command_line_and_the_file_win(cluster_environment, tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("num_workers: 2\n")
    given = ["--config", str(tmp_path / "config.yaml"), "--output", "runs/mine", "--gpus-per-worker", "1"]
    options = parse_options(GenerateOptions, given)
    assert (options.output, options.num_workers, options.gpus_per_worker) == ("runs/mine", 2, 1.0)


@pytest.mark.parametrize("variable", ["RUNS", "NUM_WORKERS", "GPUS_PER_WORKER"])
def test_an_empty_variable_is_none(variable, monkeypatch) -> None:
    monkeypatch.setenv(f"ATTRIB_SWEEPS_{variable}", "")
    options = parse_options(GenerateOptions, [])
    assert (options.output, options.num_workers, options.gpus_per_worker) == ("runs/generate", None, None)


def test_a_variable_that_is_no_number_is_named(monkeypatch) -> None:
    monkeypatch.setenv("ATTRIB_SWEEPS_NUM_WORKERS", "many")
    with pytest.raises(ValueError, match="num_workers: 'many' is not accepted"):
        parse_options(GenerateOptions, [])


@pytest.mark.parametrize("precision", ["float16", "tf32"])
def test_a_precision_of_gpus_is_refused_before_work_starts_where_workers_have_none(precision) -> None:
    options = parse_options(GenerateOptions, ["--precision", precision])
    with pytest.raises(ValueError, match=f"precision: '{precision}' needs GPUs; accepted on a CPU: float32"):
        pool_options(options, EMPTY_CLUSTER)
