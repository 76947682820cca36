"""Trackers are told of a sweep while it runs, by their own libraries; whatever they do, the sweep goes on."""

import importlib.util
import json
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.attacks.success_rates import success_rate
from analysis.load import results
from sweeps.attack_all import main
from sweeps.notices.driver import Notices, open_notices
from sweeps.notices.outlet import Outlet
from sweeps.notices.registry import check_notices
from sweeps.notices.sink import About, Connection, End, Update
from sweeps.store import RunDirectory
from sweeps.store.verification import verify

ABOUT = About(sweep="attack", run="/nowhere", id="0123456789abcdef", configuration={"seed": 0, "model": "m"})
ATTACK = ["--images", "0-31", "--epsilons", "0,0.1", "--shard-size", "8", "--save-images", "none"]
ATTACK += ["--save-perturbations", "none", "--num-workers", "1"]


@pytest.mark.parametrize(
    ("notify", "reason"),
    [
        ("tensorbord", "no tracker 'tensorbord'; near matches are tensorboard"),
        ("none,tensorboard", "no tracker 'none'; accepted are mlflow, tensorboard, wandb"),
        ("tensorboard:logdir=x", "no setting 'logdir'; near matches are log_dir"),
        ("tensorboard:x", "'x' is no setting"),
        ("tensorboard,tensorboard:log_dir=x", "tensorboard is listed twice"),
        ("tensorboard:log_dir=/proc/x", "log_dir=/proc/x cannot be written"),
        ("tensorboard:log_dir=s3://bucket/x", "is no folder"),
        ("mlflow:tracking_uri=http://me:secret@host:5000", "has a password in it, and sweep.json records"),
        ("wandb:mode=of", "Input should be 'online', 'offline'"),
        ("", "empty part"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(notify, reason, refusal_of) -> None:
    assert reason in refusal_of(main)("--notify", notify)


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_a_library_that_is_missing_is_named_with_its_extra(name, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(
        ValueError, match=rf"{name} is not installed; accepted after pip install 'attrib-sweeps\[{name}\]'"
    ):
        check_notices(name, str(tmp_path))


def test_event_files_need_a_folder_where_the_run_is_in_an_object_store() -> None:
    check_notices("tensorboard:log_dir=logs", "s3://bucket/run")
    with pytest.raises(ValueError, match="say tensorboard:log_dir=FOLDER"):
        check_notices("tensorboard", "s3://bucket/run")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_has_progress_and_the_rates_of_all_rows_also_of_earlier_commands(
    in_this_process: None, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    quiet = [*ATTACK, "--output", str(output)]
    assert main([*quiet, "--methods", "fgsm"]) == 0  # without notices
    assert main([*quiet, "--methods", "fgsm,random_sign", "--notify", "tensorboard"]) == 0
    assert main([*quiet, "--methods", "fgsm,random_sign,max_norm", "--notify", "tensorboard"]) == 0
    told = scalars(output / "tensorboard")
    steps = [step for step, _ in told["progress/committed_shards"]]
    assert steps == sorted(steps)
    assert told["progress/committed_shards"][-1] == (12, 12)
    assert told["progress/total_shards"][-1] == (12, 12)
    expected = success_rate(results(output))
    assert len(expected) == 6
    for row in expected.itertuples():
        step, value = told[f"success_rate/{row.method}/{row.epsilon:.9g}"][-1]
        assert (step, value) == (12, pytest.approx(row.rate))
    assert told["rows_read"][-1] == (12, 12 * 8 * 2)
    record = json.loads((output / "sweep.json").read_text())
    assert not [name for name in record["settings"] if "notif" in name]
    assert verify(RunDirectory(output)).problems == []


@dataclass
class Trouble:
    """A tracker that fails, or hangs, in one of its calls."""

    library: ClassVar[str] = "json"

    where: str
    act: Callable[[], None]

    def check(self, run: str) -> None: ...

    def open(self, about: About) -> Connection:
        self._maybe("open")
        return self

    def send(self, update: Update) -> None:
        self._maybe("send")

    def close(self, end: End) -> None:
        self._maybe("close")

    def _maybe(self, where: str) -> None:
        if where == self.where:
            self.act()


def fail() -> None:
    raise ConnectionError("no route\nto the host")


@pytest.mark.parametrize("where", ["open", "send", "close"])
@pytest.mark.parametrize(
    ("act", "reason"), [(fail, "ConnectionError: no route;"), (threading.Event().wait, "in time")]
)
def test_a_tracker_that_fails_or_hangs_is_told_once_and_left_alone(where, act, reason) -> None:
    lines: list[str] = []
    outlet = Outlet("trouble", Trouble(where, act), ABOUT, lines.append)
    for step in range(200):
        outlet.put(Update(step, {"a": 1.0}))
    outlet.put("finished")
    outlet.wait(0.3)
    assert len(lines) == 1
    assert lines[0].startswith("notify: trouble gets no more notices: ")
    assert reason in lines[0]


def test_the_sweep_never_waits_for_a_process_that_does_not_read() -> None:
    lines: list[str] = []
    with Notices("none,", ABOUT, lines.append) as notices:
        assert notices._process is not None
        os.kill(notices._process.pid, signal.SIGSTOP)
        start = time.monotonic()
        for step in range(10_000):
            notices.tell({"progress/committed_shards": step}, f"shard-{step}")
        assert time.monotonic() - start < 2
    assert lines == ["notify: no more notices: their process does not read them; the sweep goes on"]


def told(notify: str, run: RunDirectory, ids: range) -> list[str]:
    """Tell the trackers of a command that ended well; return the lines on the terminal."""
    lines: list[str] = []
    configuration = {"seed": 0, "model": "m", "judges": {"a": "0" * 64}}
    with open_notices(notify, "attack", configuration, run, lines.append) as notices:
        for number in ids:
            notices.tell({"progress/committed_shards": number}, f"shard-{number}")
        notices.ends(0)
    return lines


def noise(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("Waiting up to")]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # in MLflow's own models
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's database stays open
def test_mlflow_continues_the_run_of_the_directory(tmp_path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri, run = f"sqlite:///{tmp_path}/m.db", RunDirectory(tmp_path / "run")
    notify = f"mlflow:tracking_uri={uri}:experiment_name=mine"
    for ids in (range(1, 3), range(3, 5)):
        assert noise(told(notify, run, ids)) == []
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params == {"seed": "0", "model": "m", "judges.a": "0" * 64}
    history = client.get_metric_history(found.info.run_id, "progress/committed_shards")
    assert max((each.step, each.value) for each in history) == (2, 4)  # of the second command: two shards


def records(content: bytes) -> Iterator[bytes]:
    """Yield the records of W&B's file: seven bytes, then LevelDB's log format in blocks of 32 KiB."""
    assert content.startswith(b":W&B")
    data, position, block = b"", 7, 1 << 15
    while position + 7 <= len(content):
        if block - position % block < 7:  # too short for a header: zeros
            position += block - position % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        data += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, last
            yield data
            data = b""


@pytest.mark.long
def test_wandb_writes_offline_runs_of_one_id(tmp_path, monkeypatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    run = RunDirectory(tmp_path / "run")
    for ids in (range(1, 3), range(3, 5)):
        assert noise(told(f"wandb:mode=offline:dir={tmp_path}", run, ids)) == []
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    record = json.loads((tmp_path / "run" / "sweep.json").read_text())
    assert {file.name for file in files} == {f"run-{record['notices_id']}.wandb"}
    history, configuration = [], {}
    for data in records(files[-1].read_bytes()):
        message = Record.FromString(data)
        history += [{".".join(item.nested_key) or item.key: item.value_json for item in message.history.item}]
        configuration |= {each.key: each.value_json for each in message.config.update}
    assert configuration["model"] == '"m"'
    assert [each["progress/committed_shards"] for each in history if each][-1] == "4"


@pytest.mark.long
def test_wandb_without_a_key_is_refused_without_asking(tmp_path, monkeypatch) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_CONFIG_HOME", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(
        ValueError, match="set WANDB_API_KEY, log in with `wandb login`, or say wandb:mode=offline"
    ):
        check_notices("wandb", str(tmp_path))
    check_notices("wandb:mode=offline", str(tmp_path))
