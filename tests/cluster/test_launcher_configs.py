"""The launcher's configurations pass Ray's own checks, and say what the README promises."""

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.autoscaler import launched

REPOSITORY = Path(__file__).parents[2]
AWS, ON_PREM = "cluster/config.yaml", "cluster/on_prem.yaml"
TOKEN = "~/.ray/auth_token"
PYTHON = "3.11"  # of the image, of the machines on premises, and of CI


def text(name: str) -> str:
    return (REPOSITORY / name).read_text()


def prepared(name: str) -> dict[str, Any]:
    """Return the configuration as `ray up` completes it. Ray refuses fields that it does not know."""
    config: dict[str, Any] = prepare_config(yaml.safe_load(text(name)))
    validate_config(config)
    return config


@pytest.fixture
def aws() -> dict[str, Any]:
    return prepared(AWS)


def workers(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    types = config["available_node_types"]
    return {name: node for name, node in types.items() if name != config["head_node_type"]}


def is_spot(node: dict[str, Any]) -> bool:
    return bool(node["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot")


def container_environment(config: dict[str, Any]) -> dict[str, str]:
    options = [option.removeprefix("-e ") for option in config["docker"]["run_options"] if "-e " in option]
    return dict(option.split("=", 1) for option in options)


@pytest.mark.parametrize("name", [AWS, ON_PREM])
def test_ray_accepts_the_configuration(name) -> None:
    prepared(name)


@pytest.mark.parametrize("name", [AWS, ON_PREM])
def test_the_dashboard_listens_on_the_head_alone(name) -> None:
    (start,) = (command for command in prepared(name)["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in text(name)


@pytest.mark.parametrize("name", [AWS, ON_PREM])
def test_only_holders_of_the_token_get_in_and_it_is_shipped_to_every_node(name) -> None:
    config = prepared(name)
    assert "RAY_AUTH_MODE=token" in text(name)
    assert config["file_mounts"][TOKEN] == TOKEN
    for node in ("head", "worker"):
        assert any(f"chmod 600 {TOKEN}" in command for command in config[f"{node}_setup_commands"])


@pytest.mark.parametrize("name", [AWS, ON_PREM, "cluster/account.yaml"])
def test_there_are_no_credentials_in_the_file(name) -> None:
    assert not re.search(
        r"AKIA|aws_(secret_)?access_key|aws_credentials|password|BEGIN .*KEY", text(name), re.IGNORECASE
    )
    assert not re.search(r"\b\d{12}\b", text(name)), "an account's number"


@pytest.mark.parametrize("name", [AWS, ON_PREM])
def test_all_that_is_shipped_exists_and_is_all_that_the_installation_needs(name) -> None:
    mounts = prepared(name)["file_mounts"]
    sources = {source for source in mounts.values() if source != TOKEN}
    assert all((REPOSITORY / source).exists() for source in sources)
    assert all(target == f"~/attrib-sweeps/{source}" for target, source in mounts.items() if source != TOKEN)
    project = tomllib.loads(text("pyproject.toml"))
    packages = {"attrib_core", "sweeps", "cluster", "analysis"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["path"].startswith(
        "sweeps/"
    )
    assert sources == packages | {"pyproject.toml", "constraints.txt", project["project"]["readme"]}


@pytest.mark.parametrize("name", [AWS, ON_PREM])
def test_every_node_installs_the_repository_with_its_pins(name) -> None:
    config = prepared(name)
    for node in ("head", "worker"):
        (install,) = (command for command in config[f"{node}_setup_commands"] if "pip install" in command)
        assert "cd ~/attrib-sweeps && " in install
        assert install.endswith("--constraint constraints.txt --editable '.[cluster]'")
    extras = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]["cluster"]
    assert any(requirement.startswith("ray[default,tune]") for requirement in extras)
    assert any(requirement.startswith("boto3") for requirement in extras), (
        "the autoscaler and the bucket's name"
    )


def test_versions_are_those_of_the_constraints(aws) -> None:
    pins = dict(line.split("==") for line in text("constraints.txt").splitlines() if "==" in line)
    image = aws["docker"]["image"]
    assert image == f"rayproject/ray:{pins['ray']}-py{PYTHON.replace('.', '')}-cpu"
    assert pins["ray"] == ray.__version__ == importlib.metadata.version("ray")
    assert f"python{PYTHON} -m venv" in text(ON_PREM)
    assert tomllib.loads(text("pyproject.toml"))["project"]["requires-python"] == f">={PYTHON}"


def test_the_head_takes_no_sweep_work_and_stays(aws) -> None:
    head = aws["available_node_types"][aws["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert not is_spot(head)


def test_every_node_type_says_what_it_has_and_acts_by_a_role(aws) -> None:
    for node in aws["available_node_types"].values():
        assert node["resources"]
        assert node["node_config"]["IamInstanceProfile"]["Name"].startswith("attrib-sweeps-")
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_gpu_workers_come_by_demand_and_spot_has_a_fallback_with_the_same_gpu(aws) -> None:
    spot, on_demand = sorted(workers(aws).values(), key=is_spot, reverse=True)
    assert is_spot(spot)
    assert not is_spot(on_demand)
    assert spot["min_workers"] == on_demand["min_workers"] == 0
    assert spot["resources"] == on_demand["resources"] == {"CPU": 4, "GPU": 1}
    assert spot["node_config"]["InstanceType"] == on_demand["node_config"]["InstanceType"]
    assert aws["idle_timeout_minutes"] <= 10


def test_spot_is_asked_for_first_and_on_demand_where_ec2_has_no_spot(aws) -> None:
    assert launched(aws, 2) == {"gpu_spot": 2}
    assert launched(aws, 2, gpu_spot=0.0) == {"gpu_on_demand": 2}


def test_a_sweep_asks_for_as_many_actors_as_the_cluster_may_have_gpus(aws) -> None:
    environment = container_environment(aws)
    num_workers = int(environment["ATTRIB_SWEEPS_NUM_WORKERS"])
    assert environment["ATTRIB_SWEEPS_GPUS_PER_WORKER"] == "1"
    assert num_workers == aws["max_workers"] == max(node["max_workers"] for node in workers(aws).values())
    assert launched(aws, num_workers) == {"gpu_spot": num_workers}


def test_the_region_is_the_same_everywhere(aws) -> None:
    environment, region = container_environment(aws), aws["provider"]["region"]
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == region
    assert f"--region {region}" in text("cluster/account.yaml")


def test_the_addresses_on_premises_are_examples() -> None:
    provider = prepared(ON_PREM)["provider"]
    for address in (provider["head_ip"], *provider["worker_ips"]):
        assert address.startswith("192.0.2."), "RFC 5737 keeps these for documentation"
