"""The RayJob has only fields that KubeRay knows, agrees with the AWS cluster, and grows as the README says."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.cluster.autoscaler import launched

CLUSTER = Path(__file__).parents[2] / "cluster"
MANIFEST = (CLUSTER / "kuberay.yaml").read_text()


def fields(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


TEXT, COUNT, FLAG = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
# Kubernetes' own limits on names of labels and resources are not checked.
QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": r"^\d+(m|Mi|Gi)?$"}}
POD = fields(
    ("spec",),
    spec=fields(
        ("containers",),
        serviceAccountName=TEXT,
        terminationGracePeriodSeconds=COUNT,
        nodeSelector=TEXTS,
        tolerations={
            "type": "array",
            "items": fields(
                key=TEXT,
                operator={"enum": ["Exists", "Equal"]},
                value=TEXT,
                effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
            ),
        },
        containers={
            "type": "array",
            "minItems": 1,
            "items": fields(
                ("name", "image", "resources"),
                name=TEXT,
                image=TEXT,
                env={"type": "array", "items": fields(("name",), name=TEXT, value=TEXT)},
                resources=fields(requests=QUANTITIES, limits=QUANTITIES),
            ),
        },
    ),
)
# The fields of KubeRay 1.6's API reference (ray.io/v1) that a file like this one could use, written down by hand.
RAY_JOB = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields(name=TEXT, generateName=TEXT, namespace=TEXT, labels=TEXTS),
    spec=fields(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        activeDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        submitterConfig=fields(backoffLimit=COUNT),
        submitterPodTemplate=POD,
        runtimeEnvYAML=TEXT,
        suspend=FLAG,
        rayClusterSpec=fields(
            ("headGroupSpec", "rayVersion"),
            rayVersion=TEXT,
            authOptions=fields(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
            enableInTreeAutoscaling=FLAG,
            autoscalerOptions=fields(
                version={"enum": ["v1", "v2"]},
                idleTimeoutSeconds=COUNT,
                upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
            ),
            headGroupSpec=fields(("rayStartParams", "template"), rayStartParams=TEXTS, template=POD),
            workerGroupSpecs={
                "type": "array",
                "items": fields(
                    ("groupName", "minReplicas", "maxReplicas", "template"),
                    groupName=TEXT,
                    replicas=COUNT,
                    minReplicas=COUNT,
                    maxReplicas=COUNT,
                    numOfHosts=COUNT,
                    idleTimeoutSeconds=COUNT,
                    rayStartParams=TEXTS,
                    template=POD,
                ),
            },
        ),
    ),
)


@pytest.fixture
def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(MANIFEST)
    return loaded


@pytest.fixture
def cluster(job) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["rayClusterSpec"]
    return spec


def containers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def autoscaling(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return what Ray's autoscaler makes of the RayCluster that KubeRay creates."""
    resource = {"metadata": {"name": "attrib-sweeps", "namespace": "default"}, "spec": cluster}
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(resource)
    return config


def test_kuberay_knows_every_field(job) -> None:
    jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("maxReplicas: 8", "maxReplicas: eight"),
        ("maxReplicas:", "maxReplica:"),
        ("shutdownAfterJobFinishes:", "shutdownAfterJob:"),
        ('value: "8"', "value: 8"),  # Kubernetes refuses a number there
        ("mode: token", "mode: tokens"),
    ],
)
def test_a_slip_would_be_found(before, after) -> None:
    assert before in MANIFEST
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(MANIFEST.replace(before, after)), RAY_JOB)


def test_every_container_says_what_it_needs_and_may_have_no_more(cluster) -> None:
    for container in containers(cluster):
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_gpu_workers_come_by_demand_and_the_head_takes_no_work(cluster) -> None:
    types = autoscaling(cluster)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    worker = types["gpu-spot"]
    assert (worker["min_workers"], worker["max_workers"]) == (0, 8)
    assert worker["resources"] == {"CPU": 3, "GPU": 1, "memory": 12 * 2**30}
    assert autoscaling(cluster)["idle_timeout_minutes"] <= 10


def test_a_sweep_asks_for_as_many_actors_as_there_may_be_gpus(cluster) -> None:
    environment = {entry["name"]: entry["value"] for entry in containers(cluster)[0]["env"]}
    num_workers = int(environment["ATTRIB_SWEEPS_NUM_WORKERS"])
    assert launched(autoscaling(cluster), num_workers)["gpu-spot"] == num_workers == 8


def test_workers_may_stand_on_spot_nodes_and_the_head_may_not(cluster) -> None:
    (worker,) = cluster["workerGroupSpecs"]
    assert "eks.amazonaws.com/capacityType" in worker["template"]["spec"]["nodeSelector"]
    assert {"nvidia.com/gpu", "spot"} == {t["key"] for t in worker["template"]["spec"]["tolerations"]}
    assert "tolerations" not in cluster["headGroupSpec"]["template"]["spec"]


def test_only_holders_of_the_token_get_in_and_it_is_not_in_the_file(cluster) -> None:
    assert cluster["authOptions"] == {"mode": "token", "secretName": "attrib-sweeps-token"}
    assert "--from-literal auth_token=" in (CLUSTER / "README.md").read_text()
    assert not re.search(r"AKIA|secret_?access|password|kind: Secret", MANIFEST, re.IGNORECASE)


def test_the_image_is_that_of_the_aws_cluster_with_the_package(cluster) -> None:
    (image,) = {container["image"] for container in containers(cluster)}
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    aws = yaml.safe_load((CLUSTER / "config.yaml").read_text())
    assert f"\nFROM {aws['docker']['image']}\n" in dockerfile
    assert f"--tag {image} " in dockerfile
    assert f"ray:{cluster['rayVersion']}-py" in aws["docker"]["image"]
    pins = (CLUSTER.parent / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    assert "--constraint constraints.txt" in dockerfile
    project = (CLUSTER.parent / "pyproject.toml").read_text()
    assert f'version = "{image.rpartition(":")[2]}"' in project


def test_the_entrypoint_is_a_command_without_paths_and_its_rows_go_into_the_bucket(job, cluster) -> None:
    assert job["spec"]["entrypoint"].startswith("attrib-sweeps ")
    for container in containers(cluster):
        assert {"name": "ATTRIB_SWEEPS_RUNS", "value": "s3://BUCKET/runs"} in container["env"]
