"""Two machines made of one, and the cluster that `ray up` makes of them as cluster/on_prem.yaml says.

The head is this machine, reached by an sshd that the client starts for each connection, without a port. The other
machine is a network namespace with an address, an sshd and a home of its own, which the head reaches by SSH.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
PROGRAMS = ("ssh", "ssh-keygen", "rsync", "ip", "sshd")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SECONDS_TO_FINISH = 400.0  # ten seconds on an idle machine


class Machine:
    """A home in which all but the repository is installed already, and an sshd that leads into it."""

    def __init__(self, folder: Path, name: str, address: str) -> None:
        self.address, self.home = address, folder / name
        self.home.mkdir()
        self.sshd_config = folder / f"sshd_config_{name}"
        self.sshd_config.write_text(
            f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\nListenAddress {address}\n"
            "StrictModes no\nUsePAM no\nPidFile none\n"
            f"SetEnv HOME={self.home} RAY_TMPDIR={folder} PATH=/usr/local/bin:/usr/bin:/bin"
            # Nothing is fetched, and the repository is built with what is here.
            " PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_DISABLE_PIP_VERSION_CHECK=1\n"
        )
        self._install()

    def _install(self) -> None:
        environment = self.home / "attrib-sweeps-venv"
        venv.create(environment, with_pip=False)
        (site_packages,) = environment.glob("lib/python*/site-packages")
        (site_packages / "installed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        for name in ("ray", "pip"):
            _, _, script = Path(sysconfig.get_path("scripts"), name).read_text().partition("\n")
            self._write_program(name, f"#!{environment}/bin/python\n{script}")
        # ssh looks for `~` in the account's home, which both machines share here.
        key = "ray_bootstrap_key.pem"
        self._write_program(
            "ssh", f'#!/bin/bash\nexec {shutil.which("ssh")} "${{@/#\\~\\/{key}/$HOME/{key}}}"\n'
        )

    def _write_program(self, name: str, text: str) -> None:
        program = self.home / "attrib-sweeps-venv" / "bin" / name
        program.write_text(text)
        program.chmod(0o755)


class LaunchedCluster:
    """The user's side of a cluster that `ray up` has made, and its processes."""

    def __init__(self, folder: Path, network: str) -> None:
        self.folder = folder  # a short path: Ray's sockets lie below it
        self.laptop, self.runs, self.config = folder / "laptop", folder / "runs", folder / "on_prem.yaml"
        self.laptop.mkdir()
        self.runs.mkdir()
        self.head = Machine(folder, "head", f"{network}.1")
        self.worker = Machine(folder, "worker", f"{network}.2")
        self.gcs, self.dashboard, *self.other_ports = free_ports(4)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the user types it in the repository's root. RAY_TMPDIR marks every process."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ATTRIB_"))
        }
        own = {"HOME": str(self.laptop), "RAY_TMPDIR": str(self.folder), "TMPDIR": str(self.folder)}
        own["PATH"] = f"{sysconfig.get_path('scripts')}:{PATH}"
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env=clean | own | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_TO_FINISH,
        )

    def submit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("ray", "submit", str(self.config), "sweeps/generate_all.py", *arguments)

    def submit_job(self, *entrypoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `ray job submit` at the dashboard, which this machine reaches as if through `ray dashboard`."""
        address = f"http://127.0.0.1:{self.dashboard}"
        return self.run(
            "ray", "job", "submit", "--", *entrypoint, RAY_API_SERVER_ADDRESS=address, **environment
        )

    def execute(self, command: str) -> str:
        return self.run("ray", "exec", str(self.config), command).stdout

    def sessions(self) -> list[str]:
        """Return every cluster that was ever started below the folder."""
        return [path.name for path in (self.folder / "ray").glob("session_2*")]

    def up(self) -> None:
        """Launch the cluster as cluster/README.md says: a token, `ray up`, then wait for all machines."""
        token = self.run("sh", "-c", "umask 077; ray get-auth-token --generate")
        assert token.returncode == 0, token.stdout
        up = self.run("ray", "up", "--yes", str(self.config))
        assert up.returncode == 0, up.stdout
        deadline = time.monotonic() + SECONDS_TO_FINISH
        while "2 local.cluster.node" not in (status := self.execute("ray status")):
            assert time.monotonic() < deadline, status
            time.sleep(1)

    def processes(self) -> list[int]:
        mark, found = f"RAY_TMPDIR={self.folder}\0".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def end(self) -> None:
        """End the cluster's processes by their ids: `ray down` would end other clusters of this machine too."""
        deadline = time.monotonic() + 60
        while pids := self.processes():
            assert time.monotonic() < deadline, f"{pids} do not end"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def configuration(cluster: LaunchedCluster) -> str:
    """Return cluster/on_prem.yaml, changed where two machines in one, beside other clusters, need it."""
    text = (REPOSITORY / "cluster" / "on_prem.yaml").read_text()
    agent, client = cluster.other_ports
    for asked, here in {
        "/srv/attrib-sweeps/runs": str(cluster.runs),
        "  - ray stop\n": "",  # it would end other clusters of this machine
        # All sweep work is for the other machine.
        "--port=6379 ": f"--port={cluster.gcs} --node-ip-address={cluster.head.address} --num-cpus=0 "
        f"--dashboard-port={cluster.dashboard} --dashboard-agent-listen-port={agent} "
        f"--ray-client-server-port={client} ",
        "--address=$RAY_HEAD_IP:6379": f"--address=$RAY_HEAD_IP:{cluster.gcs} --num-cpus=2",
    }.items():
        assert asked in text
        text = text.replace(asked, here)
    config = yaml.safe_load(text)
    config["cluster_name"] = f"sweeps-{secrets.token_hex(4)}"
    config["provider"] |= {"head_ip": cluster.head.address, "worker_ips": [cluster.worker.address]}
    config["auth"] = {
        "ssh_user": getpass.getuser(),
        "ssh_private_key": str(cluster.folder / "user_key"),
        # Of the head alone: Ray leaves it out where the head reaches other machines.
        "ssh_proxy_command": f"{shutil.which('sshd', path=PATH)} -i -f {cluster.head.sshd_config}",
    }
    return yaml.safe_dump(config, sort_keys=False)


def network_command(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


@contextlib.contextmanager
def namespace(network: str) -> Iterator[str]:
    """Yield the name of a network namespace that is linked to this machine: here .1, there .2."""
    name = f"sweeps{secrets.token_hex(3)}"
    link, peer = f"{name}h", f"{name}w"
    network_command(f"netns add {name}")
    try:
        network_command(
            f"link add {link} type veth peer name {peer} netns {name}",
            f"addr add {network}.1/24 dev {link}",
            f"link set {link} up",
            f"-n {name} addr add {network}.2/24 dev {peer}",
            f"-n {name} link set {peer} up",
            f"-n {name} link set lo up",
        )
        yield name
    finally:
        subprocess.run(["ip", "link", "del", link])
        network_command(f"netns del {name}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LaunchedCluster]:
    """Yield a cluster that is launched once for all tests. None of its processes may be left afterwards."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root, openssh-server, rsync and iproute2; lacks {', '.join(missing) or 'root'}")
    folder, network = Path(tempfile.mkdtemp(prefix="up", dir="/tmp")), f"10.98.{secrets.randbelow(256)}"
    for key in ("user_key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    launched = LaunchedCluster(folder, network)
    launched.config.write_text(configuration(launched))
    with namespace(network) as name:
        sshd = [str(shutil.which("sshd", path=PATH)), "-D", "-f", str(launched.worker.sshd_config)]
        server = subprocess.Popen(["ip", "netns", "exec", name, *sshd])
        try:
            launched.up()
            yield launched
        finally:
            server.terminate()
            launched.end()
            server.wait()
    shutil.rmtree(folder)
