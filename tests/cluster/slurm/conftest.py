"""A SLURM cluster of this machine: a controller, and nodes with an address, a name and processes of their own.

`ray symmetric-run` ends every Ray process that it sees. So each node sees its own processes alone.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "ip", "unshare")
PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
NUM_NODES = 2


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def wait_for(condition: Callable[[], bool], seconds: float, said: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)


class Slurm:
    """The cluster's daemons, and its commands as typed on its first node."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(3)
        self.bridge = f"sl{self.mark}br"
        self.subnet = (
            f"198.{secrets.choice((18, 19))}.{secrets.randbelow(256)}"  # RFC 2544: nothing else is there
        )
        self.folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.jobs: list[str] = []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = inherited | {"PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def namespace(self, node: int) -> str:
        return f"sl{self.mark}{node}"

    def configure(self) -> None:
        nodes = range(1, NUM_NODES + 1)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        lines = [
            "ClusterName=test",
            f"SlurmctldHost=n1({self.subnet}.1)",
            *("AuthType=auth/none", "CredType=cred/none"),
            "AuthInfo=cred_expire=2",  # a job that is put back waits for so long and a little more
            *("ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "SelectType=select/cons_tres"),
            *("SlurmUser=root", "SlurmdUser=root", "MailProg=/bin/true", "KillWait=2"),
            f"StateSaveLocation={self.folder}/controller",
            f"SlurmdSpoolDir={self.folder}/%n",
            f"SlurmctldPidFile={self.folder}/controller.pid",
            f"SlurmdPidFile={self.folder}/%n.pid",
            *(f"NodeName=n{i} NodeAddr={self.subnet}.{i} CPUs=1 RealMemory=1000" for i in nodes),
            "PartitionName=all Nodes=ALL Default=YES",
        ]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "controller").mkdir()

    def start(self) -> None:
        self.configure()
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "link", "set", self.bridge, "up")
        for node in range(1, NUM_NODES + 1):
            name = self.namespace(node)
            run("ip", "netns", "add", name)
            run("ip", "link", "add", f"{name}l", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", f"{name}l", "master", self.bridge, "up")
            for command in (
                f"address add {self.subnet}.{node}/24 dev eth0",
                "link set lo up",
                "link set eth0 up",
                "route add default dev eth0",  # by which Ray finds out what its own address is
            ):
                run("ip", "-n", name, *command.split())
        self._daemon(1, "slurmctld -D")
        for node in range(1, NUM_NODES + 1):
            (self.folder / f"n{node}").mkdir()
            # bash, as process 1 there, waits for orphans as a machine's init does.
            own_processes = ("--pid", "--fork", "--mount-proc", "--kill-child")
            self._daemon(node, f"slurmd -D -N n{node} & wait", *own_processes)
        wait_for(lambda: self.command("sinfo", "--noheader", "--format=%D %t") == "2 idle\n", 30, self.said)

    def _daemon(self, node: int, command: str, *namespaces: str) -> None:
        inside = ("unshare", "--uts", *namespaces, "bash", "-c", f"hostname n{node}; {command}")
        with (self.folder / "daemons.log").open("ab") as log:
            self.daemons.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", self.namespace(node), *inside],
                    env=self.environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def command(self, *command: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace(1), *command],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout or done.stderr

    def submit(self, *sweep: str, **options: str) -> str:
        """Submit cluster/slurm.sbatch with a sweep's command and return the job's number."""
        given = [f"--{name}={value}" for name, value in options.items()]
        output = f"--output={self.folder}/job-%j.out"
        said = self.command("sbatch", "--parsable", output, *given, "cluster/slurm.sbatch", *sweep)
        assert said.strip().isdecimal(), said
        self.jobs.append(said.strip())
        return self.jobs[-1]

    def field(self, job: str, name: str) -> str:
        found = re.search(rf"\b{name}=(\S*)", self.command("scontrol", "show", "job", job))
        return found[1] if found else ""

    def wait_until_ended(self, job: str, seconds: float) -> str:
        """Return the job's state."""
        states = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_for(lambda: self.field(job, "JobState") in states, seconds, self.said)
        return self.field(job, "JobState")

    def said(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.[ol][uo]*")))

    def tear_down(self) -> None:
        for node in range(1, NUM_NODES + 1):
            listed = subprocess.run(
                ["ip", "netns", "pids", self.namespace(node)], capture_output=True, text=True
            )
            for pid in map(int, listed.stdout.split()):
                with contextlib.suppress(ProcessLookupError):  # ended meanwhile
                    os.kill(pid, signal.SIGKILL)
        for daemon in self.daemons:
            daemon.wait()
        for node in range(1, NUM_NODES + 1):
            subprocess.run(["ip", "link", "delete", f"{self.namespace(node)}l"], capture_output=True)
            subprocess.run(["ip", "netns", "delete", self.namespace(node)], capture_output=True)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)
        for job in self.jobs:
            shutil.rmtree(f"/tmp/ray-{job}", ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Yield a cluster of two idle nodes. Nothing of it is left afterwards."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root, Debian's slurmctld, slurmd and iproute2; missing here: {missing or 'root'}")
    cluster = Slurm()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.tear_down()
