"""cluster/account.yaml and cluster/config.yaml in an AWS account that moto's server plays, by Ray's own launcher.

What is not shown by this: that AWS grants what the roles say, that the machine image boots, that there are GPUs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider

REPOSITORY = Path(__file__).parents[2]
TEMPLATE = (REPOSITORY / "cluster" / "account.yaml").read_text()
CONFIG = yaml.safe_load((REPOSITORY / "cluster" / "config.yaml").read_text())
REGION = CONFIG["provider"]["region"]
BUCKET = f"attrib-sweeps-123456789012-{REGION}"  # of moto's account

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[boto3.Session]:
    """Yield an account in which only the stack has been deployed; the environment is its user's."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "test")
        session = boto3.Session()
        session.client("cloudformation").create_stack(
            StackName="attrib-sweeps", TemplateBody=TEMPLATE, Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        yield session
    server.stop()


@pytest.fixture(scope="module")
def instances(account: boto3.Session) -> dict[str, dict[str, Any]]:
    """Return one machine per node type, by the type's name, launched as `ray up` and the autoscaler do."""
    with pytest.MonkeyPatch.context() as where:
        where.chdir(REPOSITORY)
        config = _bootstrap_config(CONFIG, no_config_cache=True)
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    for name, node_type in config["available_node_types"].items():
        kind = "head" if name == config["head_node_type"] else "worker"
        provider.create_node(node_type["node_config"], {"ray-node-kind": kind, "ray-node-name": name}, 1)
    reservations = account.client("ec2").describe_instances()["Reservations"]
    return {name_of(instance): instance for found in reservations for instance in found["Instances"]}


def name_of(instance: dict[str, Any]) -> str:
    return next(str(tag["Value"]) for tag in instance["Tags"] if tag["Key"] == "Name")


def statements(account: boto3.Session, role: str) -> list[dict[str, Any]]:
    """Return all statements of a role's policies."""
    iam, found = account.client("iam"), []
    for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
        found += document["PolicyVersion"]["Document"]["Statement"]
    assert not iam.list_role_policies(RoleName=role)["PolicyNames"]
    return found


def actions(account: boto3.Session, role: str) -> set[str]:
    found = [statement["Action"] for statement in statements(account, role)]
    return {action for each in found for action in ([each] if isinstance(each, str) else each)}


def test_ray_launches_every_node_type_with_its_role_and_market(instances) -> None:
    assert instances.keys() == {"head", "gpu_spot", "gpu_on_demand"}
    for name, instance in instances.items():
        role = "attrib-sweeps-head" if name == "head" else "attrib-sweeps-worker"
        assert instance["IamInstanceProfile"]["Arn"].endswith(f":instance-profile/{role}")
        assert instance.get("InstanceLifecycle") == ("spot" if name == "gpu_spot" else None)
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert instance["KeyName"] == f"ray-autoscaler_{REGION}"


def test_the_declared_resources_are_those_of_the_machines(account, instances) -> None:
    for name, node_type in CONFIG["available_node_types"].items():
        if name == "head":
            continue
        kind = [node_type["node_config"]["InstanceType"]]
        (found,) = account.client("ec2").describe_instance_types(InstanceTypes=kind)["InstanceTypes"]
        gpus = sum(gpu["Count"] for gpu in found["GpuInfo"]["Gpus"])
        assert node_type["resources"] == {"CPU": found["VCpuInfo"]["DefaultVCpus"], "GPU": gpus}


def test_workers_reach_the_bucket_and_nothing_else(account) -> None:
    objects = {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
    assert actions(account, "attrib-sweeps-worker") == {"s3:ListBucket", *objects}
    for statement in statements(account, "attrib-sweeps-worker"):
        assert statement["Resource"] in (f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*")


def test_the_head_may_hand_on_the_workers_role_alone(account) -> None:
    (passing,) = (s for s in statements(account, "attrib-sweeps-head") if s["Action"] == "iam:PassRole")
    assert passing["Resource"].endswith(":role/attrib-sweeps-worker")
    assert {"ec2:RunInstances", "ec2:TerminateInstances"} < actions(account, "attrib-sweeps-head")
    assert not [action for action in actions(account, "attrib-sweeps-head") if action.endswith(":*")]


def test_results_are_private_and_outlive_the_stack(account) -> None:
    for setting in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"):
        assert f"{setting}: true" in TEMPLATE  # moto's stacks leave it out
    account.client("s3").put_object(Bucket=BUCKET, Key="runs/generate/sweep.json", Body=b"{}")
    assert "DeletionPolicy: Retain" in TEMPLATE


def name_the_bucket(home: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the setup command that finds the bucket, and print what a shell of the node knows afterwards."""
    (command,) = (command for command in CONFIG["setup_commands"] if "ATTRIB_SWEEPS_RUNS" in command)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f'{command} && source ~/.bashrc && echo "$ATTRIB_SWEEPS_RUNS"'],
        env=os.environ | {"HOME": str(home), "PATH": path, "AWS_REGION": REGION} | changes,
        capture_output=True,
        text=True,
    )


def test_every_node_finds_the_bucket_of_its_account(account, tmp_path) -> None:
    assert name_the_bucket(tmp_path).stdout == f"s3://{BUCKET}/runs\n"
    (stack,) = account.client("cloudformation").describe_stacks(StackName="attrib-sweeps")["Stacks"]
    assert {"OutputKey": "Runs", "OutputValue": f"s3://{BUCKET}/runs"} in stack["Outputs"]


def test_setting_up_a_node_fails_where_the_account_is_not_known(account, tmp_path) -> None:
    done = name_the_bucket(tmp_path, AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert done.returncode != 0
    assert not (tmp_path / ".bashrc").exists()
