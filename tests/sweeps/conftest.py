"""Run directories on a local disk and in a real S3 server, and the rows to put into them."""

import contextlib
import functools
import itertools
import os
import secrets
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
from ray import cloudpickle

from attrib_core.classifiers import Checkpoint, load_classifier, read_checkpoint
from attrib_core.datasets import Dataset, View, load_dataset, registry
from attrib_core.datasets.registry import Request
from cluster import worker
from cluster.backlog import Backlog
from cluster.pool import Committed, Event, HasId, JobFactory, NoWorkerStartedError, PoolOptions
from cluster.session import Session, connect
from cluster.worker import Done, Worker
from sweeps import model_options, runner
from sweeps.generate import job as generate_job
from sweeps.schemas import generate_images, generate_results
from sweeps.store import RunDirectory, rows_table

NUM_CLASSES = 3
PUBLISHED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "fashion_deep")
_bucket_numbers = itertools.count()


FASHION_MNIST = registry._ENTRIES["fashion_mnist"]
_kept_images, _kept_weights = functools.cache(FASHION_MNIST.load), functools.cache(read_checkpoint)


def _load(request: Request) -> Dataset:
    return (_kept_images if request.root is None else FASHION_MNIST.load)(request)


def _read(name: str, *, weights: str | None = None, **description: Any) -> Checkpoint:
    reader = _kept_weights if name in PUBLISHED and weights is None else read_checkpoint
    return reader(name, weights=weights, **description)


@pytest.fixture(
    scope="module", autouse=True
)  # a package of tests is none where processes share its files out
def _published_files_are_read_once() -> Iterator[None]:
    """Keeps Fashion-MNIST and the usual weights: each command reads and hashes them, for a second or more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._ENTRIES, "fashion_mnist", replace(FASHION_MNIST, load=_load))
        for module in (model_options, generate_job):
            patch.setattr(module, "read_checkpoint", _read)
        yield


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    lock, put = threading.Lock(), S3Response.put_object

    def put_one_by_one(response: S3Response) -> Any:
        with lock:  # moto compares ETags and stores later: another thread may store in between
            return put(response)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", put_one_by_one)
        server.start()
        yield "http://{}:{}".format(*server.get_host_and_port())
        server.stop()


@pytest.fixture
def use_s3(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts the endpoint of a server and credentials into the environment, as a user gives them."""

    def use(endpoint: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_REGION", "us-east-1")

    return use


@pytest.fixture
def s3_url(s3_endpoint: str, use_s3: Callable[[str], None]) -> str:
    """The URL of an empty bucket; endpoint and credentials are in the environment."""
    use_s3(s3_endpoint)
    bucket = f"bucket-{next(_bucket_numbers)}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_endpoint}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}"


@pytest.fixture(params=["local", "s3"])
def run(request: pytest.FixtureRequest) -> RunDirectory:
    """An empty run directory, once on a local disk and once in S3."""
    if request.param == "local":
        return RunDirectory(request.getfixturevalue("tmp_path") / "runs" / "generate")
    return RunDirectory(f"{request.getfixturevalue('s3_url')}/runs/generate")


@pytest.fixture
def refusal() -> Callable[[str | Path], str]:
    """Of a place that cannot be written: the line that says why."""

    def of(url: str | Path) -> str:
        with pytest.raises(ValueError, match="cannot be written") as refused:
            RunDirectory(url).check_writable()
        assert str(url) in str(refused.value)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    return of


@pytest.fixture
def make_rows():
    """Rows of a shard of the generation sweep: one per class."""

    def make(shard_id: str, classes, attempt: int = 1, image_file: str | None = None) -> pa.Table:
        return rows_table(
            [_row(shard_id, index, attempt, image_file) for index in classes], generate_results(["judge"])
        )

    return make


@pytest.fixture
def make_images():
    """The images of a shard: one per class, of this many bytes."""

    def make(classes, num_bytes: int = 1000) -> pa.Table:
        return rows_table([_image(index, num_bytes) for index in classes], generate_images(NUM_CLASSES))

    return make


@pytest.fixture
def commit_shard(make_rows, make_images):
    """One attempt at a shard, images and rows; the images' file name and whether it won."""

    def commit(run: RunDirectory, shard_id: str, classes, attempt: int = 1) -> tuple[str, bool]:
        image_file = run.put_images(shard_id, attempt, make_images(classes))
        return image_file, run.commit(shard_id, make_rows(shard_id, classes, attempt, image_file), image_file)

    return commit


@pytest.fixture(scope="session")
def write_fashion_mnist() -> Callable[..., Path]:
    """The first real training and test images, as many as wanted, in files as Fashion-MNIST has them."""

    def write(folder: Path, num_train: int, num_test: int) -> Path:
        for split, prefix, count in (("train", "train", num_train), ("test", "t10k", num_test)):
            dataset = load_dataset("fashion_mnist", split=split)
            pixels = dataset.images(range(count), View(image_size=28, channels=1))[:, 0]
            labels = dataset.labels[:count].astype(np.uint8)
            for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
                header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
                (folder / f"{prefix}-{kind}-ubyte").write_bytes(header + values.tobytes())
        return folder

    return write


@pytest.fixture(scope="package")
def local_cluster() -> Iterator[None]:
    """A cluster of two workers that all sweeps of these tests share: a start of Ray takes seconds."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with connect("local", num_cpus=2):
        yield


def _sent(value: Any) -> Any:
    return cloudpickle.loads(cloudpickle.dumps(value))


class PoolHere:
    """A pool whose only worker works in this process; all that it is sent is pickled, as it is for an actor."""

    def __init__(self, factory: JobFactory, shared: Any, options: PoolOptions, log: Callable[[str], None]):
        self._max_attempts, self._log = options.max_attempts, log
        self._worker = Worker(options.threads_per_worker)
        if failed := self._worker.start(*_sent((factory, shared))):
            raise NoWorkerStartedError(failed.error)

    def run(self, shards: Iterable[HasId]) -> Iterator[Event]:
        backlog, turns = Backlog(shards, self._max_attempts), itertools.count()
        while (task := backlog.take(idle=True)) is not None:
            answer = self._worker.work(_sent(task.shard), task.attempt, next(turns))
            if isinstance(answer, Done):
                yield Committed(task.shard, task.attempt, _sent(answer.summary), "worker-0", answer.seconds)
            elif verdict := backlog.fail(task, answer.error, permanent=answer.permanent):
                yield verdict
            else:
                self._log(f"{task.shard.id} failed in attempt {task.attempt} and runs again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None: ...


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes sweeps work here, with the worker's own code: an actor takes seconds to start.

    For tests of what options change. Each sweep's finished run is made by real actors.
    """
    local = Session(address="local", is_local=True, num_cpus=2.0, num_gpus=0.0)
    monkeypatch.setattr(runner, "connect", lambda *_address, **_cpus: contextlib.nullcontext(local))
    monkeypatch.setattr(runner, "Pool", PoolHere)
    monkeypatch.setattr(worker, "keep_freed_memory", lambda: True)
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # the worker changes it
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def truncated_weights(tmp_path: Path) -> Path:
    """A weights file of `fashion_deep` that lacks its end."""
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(load_classifier("fashion_deep").network.state_dict(), weights)
    weights.write_bytes(weights.read_bytes()[:-100])
    return weights


@pytest.fixture
def refusal_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Callable[..., str]]:
    """Of a command line: the line with which arguments are refused; what lay in the folder lies there still."""

    def of(main: Callable[[list[str]], int], *common: str) -> Callable[..., str]:
        def run(*arguments: str) -> str:
            before = _tree(tmp_path)
            assert main(["--output", str(tmp_path / "run"), *common, *arguments]) == 2
            printed = capsys.readouterr()
            assert printed.out == ""
            assert printed.err.startswith("error: ")
            assert printed.err.count("\n") == 1, printed.err
            assert _tree(tmp_path) == before
            return printed.err

        return run

    return of


def _tree(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def _image(index: int, num_bytes: int):
    key = f"plain-c{index}"
    return {
        "key": key,
        "image": {"bytes": bytes([index % 256]) * num_bytes, "path": f"{key}.png"},
        "class_index": index,
        "seed": 0,
        "recipe": "plain",
        "step": 8,
        "logits": [0.0] * NUM_CLASSES,
    }


def _row(shard_id: str, index: int, attempt: int, image_file: str | None):
    return {
        "sweep": "generate",
        "model": "model",
        "model_digest": "0" * 64,
        "shard_id": shard_id,
        "attempt": attempt,
        "schema_version": 1,
        "image_file": image_file,
        "image_key": None if image_file is None else f"plain-c{index}",
        "class_index": index,
        "seed": 0,
        "recipe": "plain",
        "wnid": "n0",
        "class_name": "name",
        "num_steps": 8,
        "batch_size": 4,
        "logit": 1.5,
        "probability": 0.5,
        "top1": index,
        "top5_hit": True,
        "judge_top1": {"judge": index},
        "judge_top5_hit": {"judge": True},
        "total_variation": 0.1,
        "clipped_share": 0.0,
        "ripple": 0.25,
        "sharpness": -2.0,
        "logit_by_step": [0.0, 1.5],
        "loss_by_step": [2.0, 1.0],
        "argmax_by_step": [0, index],
        "seconds": 0.25,
    }
