"""Does an actor's device wait for the object store? Real sweeps into a slow S3 server.

One actor of one thread; its job notes when it computes and when it commits. *Idle* is the share of the time
between the first and the last computation in which none ran. The server is moto's, in a process of its own,
behind a proxy that holds back every answer by so many milliseconds; beside it the same sweep on a local disk.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from reporting import Finding, Row, command_line, publish

from cluster.pool import Job, JobFactory
from sweeps.attack_all import SMALL_SHARD, AttackOptions, attack_sweep
from sweeps.generate_all import GenerateOptions, generation_sweep
from sweeps.runner import run_sweep
from sweeps.sweep import Sweep

NOTES = "S3_OVERLAP_NOTES"
TARGET = 0.05
EVERYWHERE: dict[str, Any] = {"address": "local", "num_workers": 1, "threads_per_worker": 1}


class NotingJob:
    """A sweep's job that notes the seconds of the machine's clock at which it began and ended what."""

    def __init__(self, factory: JobFactory, shared: Any) -> None:
        self._job: Job = factory(shared)

    def compute(self, shard: Any) -> Any:
        return _noted("compute", partial(self._job.compute, shard))

    def commit(self, computed: Any, attempt: int) -> dict[str, Any]:
        summary: dict[str, Any] = _noted("commit", partial(self._job.commit, computed, attempt))
        return summary


def _noted(what: str, do: Callable[[], Any]) -> Any:
    begin = time.monotonic()
    result = do()
    with Path(os.environ[NOTES]).open("a") as notes:
        notes.write(json.dumps({"what": what, "begin": begin, "end": time.monotonic()}) + "\n")
    return result


def generation(output: str, num_shards: int) -> tuple[Sweep, Any]:
    """Return shards of only four images: the shorter a shard computes, the larger the share of its commit."""
    options = GenerateOptions(
        output=output,
        classes=f"0-{4 * num_shards - 1}",
        recipes="fast",
        judges="none",
        shard_size=4,
        **EVERYWHERE,
    )
    return generation_sweep(options), options


def attack(output: str, num_shards: int) -> tuple[Sweep, Any]:
    """Return FGSM at twelve ε, with the shards and the stored files of a default run."""
    images = f"0-{SMALL_SHARD * num_shards - 1}"
    options = AttackOptions(output=output, images=images, methods="fgsm", **EVERYWHERE)
    return attack_sweep(options), options


SWEEPS = {"generate": generation, "attack": attack}


def run_case(name: str, output: str, num_shards: int) -> Row:
    """Run one sweep from an empty directory, and return what its actor's notes say."""
    with tempfile.NamedTemporaryFile("r") as notes:
        os.environ[NOTES] = notes.name
        sweep, options = SWEEPS[name](output, num_shards)
        sweep = dataclasses.replace(sweep, factory=partial(NotingJob, sweep.factory))
        if run_sweep(sweep, options):
            raise RuntimeError(f"{name} into {output} failed")
        noted = [json.loads(line) for line in notes]
    computed = sorted((note["begin"], note["end"]) for note in noted if note["what"] == "compute")
    committed = [note["end"] - note["begin"] for note in noted if note["what"] == "commit"]
    idle = sum(later[0] - earlier[1] for earlier, later in itertools.pairwise(computed))
    return {
        "shards": len(computed),
        "compute s": sum(end - begin for begin, end in computed) / len(computed),
        "commit s": sum(committed) / len(committed),
        "idle": idle / (computed[-1][1] - computed[0][0]),
    }


@contextmanager
def s3_server() -> Iterator[int]:
    """Yield the port of moto's server in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(port)
            yield port
        finally:
            server.terminate()


@contextmanager
def late_answers(port: int, milliseconds: int) -> Iterator[int]:
    """Yield the port of a proxy that passes requests on at once and answers this much later."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        while chunk := await reader.read(1 << 16):
            await asyncio.sleep(delay)
            writer.write(chunk)
            await writer.drain()
            delay = 0.0 if len(chunk) == 1 << 16 else delay  # a long answer waits once
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            pump(reader, to_server[1], 0.0),
            pump(to_server[0], writer, milliseconds / 1000),
            return_exceptions=True,
        )

    loop, own = asyncio.new_event_loop(), free_port()
    loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", own))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield own
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


def wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("moto's server did not start")


def use_store(port: int, bucket: str) -> str:
    """Point this process and its actors to a new bucket at the port; return its URL."""
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
    }
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{bucket}", method="PUT")
    urllib.request.urlopen(request).close()
    return f"s3://{bucket}/run"


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument(
        "--latencies", type=int, nargs="*", default=[50, 200, 500], help="milliseconds an answer"
    )
    parser.add_argument("--shards", type=int, default=8)
    options = parser.parse_args()
    if options.quick:
        options.latencies, options.shards = [200], 3
    return options


def main() -> None:
    options = parse()
    rows: list[Row] = []
    with s3_server() as port, tempfile.TemporaryDirectory() as folder:
        for name in SWEEPS:
            rows.append({"sweep": name, "store": "disk"} | run_case(name, f"{folder}/{name}", options.shards))
            for latency in options.latencies:
                with late_answers(port, latency) as late:
                    output = use_store(late, f"{name}-{latency}")
                    store = {"sweep": name, "store": f"S3, {latency} ms"}
                    rows.append(store | run_case(name, output, options.shards))
    publish(options, rows, [finding(row) for row in rows])


def finding(row: Row) -> Finding:
    name = f"{row['sweep']} to {row['store']}: idle"
    return Finding(name=name, value=row["idle"], target=TARGET, at_most=True)


if __name__ == "__main__":
    main()
