"""Behind throttling, failures and connections that are reset, files in S3 are still written exactly once."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from obstore.exceptions import GenericError

from sweeps.store.cloud_files import PATIENT, CloudFiles

FAULTS = ["503 SlowDown", "500 InternalError", "reset before", "reset after"]


@pytest.fixture
def files(gateway, s3_url, hurried) -> CloudFiles:
    return CloudFiles(f"{s3_url}/run", hurried)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_put_outlasts_a_fault(files, gateway, fault) -> None:
    gateway.fail_first(2, "PUT", fault)
    files.put("file", b"content")
    assert files.read_if_present("file") == b"content"
    assert [request.fault for request in gateway.requests if request.method == "PUT"] == [fault, fault, None]


@pytest.mark.parametrize("fault", [*FAULTS, "reset amid"])
def test_a_put_in_parts_outlasts_a_fault_at_its_begin_and_at_its_end(files, gateway, fault) -> None:
    content = bytes(range(256)) * 24_000  # 6 MB: obstore sends 5 MB at once
    left = ["uploads=", "uploadId="]

    def choose(method: str, path: str) -> str | None:
        if method == "POST" and left and left[0] in path:
            del left[0]
            return fault
        return None

    gateway.choose = choose
    files.put("file", content)
    assert left == []
    assert files.read_if_present("file") == content


@pytest.mark.parametrize("fault", FAULTS)
def test_a_put_if_absent_outlasts_a_fault_and_its_writer_knows_that_it_won(files, gateway, fault) -> None:
    gateway.fail_first(2, "PUT", fault)
    assert files.put_if_absent("file", b"ours")
    assert files.read_if_present("file") == b"ours"
    assert not files.put_if_absent("file", b"theirs")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_update_outlasts_a_fault_and_is_made_once(files, gateway, fault) -> None:
    files.put("count", b"1")
    gateway.fail_first(2, "PUT", fault)
    files.update("count", lambda content: str(int(content) + 1).encode())
    assert files.read_if_present("count") == b"2"


@pytest.mark.parametrize("fault", [*FAULTS, "reset amid"])
def test_a_deletion_outlasts_a_fault(files, gateway, fault) -> None:
    files.put("file", b"content")
    gateway.fail_first(2, "POST", fault)
    files.delete("file")
    assert not files.exists("file")
    assert [request.fault for request in gateway.requests if request.method == "POST"] == [fault, fault, None]


def test_a_put_if_absent_gives_up_within_its_limit_after_growing_pauses(gateway, s3_url, hurried) -> None:
    gateway.choose = lambda method, _path: "reset before" if method == "PUT" else None
    with pytest.raises(GenericError, match="error sending request"):
        CloudFiles(f"{s3_url}/run", hurried).put_if_absent("file", b"content")
    arrivals = [request.seconds for request in gateway.requests if request.method == "PUT"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert len(arrivals) == 1 + hurried["max_retries"]
    assert all(gap >= 0.01 * 2**number for number, gap in enumerate(gaps))
    assert arrivals[-1] - arrivals[0] < hurried["retry_timeout"].total_seconds()


def test_what_obstore_has_sent_often_enough_is_not_sent_again(s3_url, hurried, monkeypatch) -> None:
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL", "http://127.0.0.1:9"
    )  # obstore sees that nobody was asked to write
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(GenericError, match="after 4 retries"):
        CloudFiles(f"{s3_url}/run", hurried).put_if_absent("file", b"content")
    assert pauses == []


def patience(*, seconds: float):
    """Return PATIENT with its minutes scaled to so many seconds."""
    scale = timedelta(seconds=seconds) / PATIENT["retry_timeout"]
    pauses = {name: scale * PATIENT["backoff"][name] for name in ("init_backoff", "max_backoff")}
    return PATIENT | {
        "backoff": PATIENT["backoff"] | pauses,
        "retry_timeout": scale * PATIENT["retry_timeout"],
    }


def test_patience_ends(gateway, s3_url) -> None:
    gateway.choose = lambda _method, _path: "reset before"
    begin = time.monotonic()
    with pytest.raises(GenericError, match="error sending request"):
        CloudFiles(f"{s3_url}/run", patience(seconds=0.5)).put_if_absent("file", b"content")
    assert 0.4 < time.monotonic() - begin < 15  # all its retries would take half a minute


@pytest.mark.parametrize("fault", ["503 SlowDown", "reset before"])
def test_a_commit_outlasts_an_outage_half_as_long_as_its_patience(fault, gateway, s3_url) -> None:
    retry = patience(seconds=3)
    files = CloudFiles(f"{s3_url}/run", retry)
    files.put("old", b"content")
    outage_ends = time.monotonic() + retry["retry_timeout"].total_seconds() / 2
    gateway.choose = lambda _method, _path: fault if time.monotonic() < outage_ends else None
    with ThreadPoolExecutor() as pool:
        written = pool.submit(files.put, "image", b"content")
        committed = pool.submit(files.put_if_absent, "rows", b"content")
        read = pool.submit(files.read, "old")
        listed = pool.submit(lambda: list(files.list("")))
    written.result()
    assert committed.result()
    assert read.result() == b"content"
    assert "old" in [entry.path for entry in listed.result()]
    assert time.monotonic() > outage_ends


def test_a_missing_file_whose_404_broke_off_is_missing(files, gateway) -> None:
    for ask in (files.read_if_present, lambda path: files.update(path, lambda content: content or b"new")):
        gateway.fail_first(2, "GET", "reset amid")
        assert ask("file") in (None, b"new")
    assert files.read("file") == b"new"


@pytest.mark.parametrize("fault", [*FAULTS, "reset amid"])
def test_a_listing_outlasts_a_fault(files, gateway, fault) -> None:
    files.put("file", b"content")
    gateway.fail_first(2, "GET", fault)
    assert [entry.path for entry in files.list("")] == ["file"]
    assert any(request.fault for request in gateway.requests)


@pytest.mark.long
def test_a_long_listing_that_breaks_off_goes_on_where_it_was(files, gateway, monkeypatch) -> None:
    paths = [f"results/{number:04d}" for number in range(2200)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: files.put(path, b""), paths))
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "200")  # a request's share of the listing
    requests = itertools.count(1)
    gateway.choose = lambda _method, _path: "reset amid" if next(requests) % 8 == 0 else None
    assert [entry.path for entry in files.list("results")] == paths
    assert sum("start-after" in request.path for request in gateway.requests) >= 1


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("content", [b"first", bytes(range(256)) * 4000], ids=["small", "large"])
def test_a_read_whose_answer_broke_off_is_whole(content, times, files, gateway) -> None:
    files.put("file", content)
    gateway.fail_first(times, "GET", "reset amid")
    assert files.read_if_present("file") == content
    assert sum(request.fault is not None for request in gateway.requests) == times
    gateway.fail_first(times, "GET", "reset amid")
    files.update("file", lambda old: b"2" + (old or b""))
    assert files.read("file") == b"2" + content


def test_of_writers_in_a_race_behind_faults_one_wins_and_knows_it(gateway, s3_url, hurried) -> None:
    files = CloudFiles(f"{s3_url}/run", hurried)
    turns = itertools.cycle(["reset after", None, "503 SlowDown"])
    gateway.choose = lambda method, _path: next(turns) if method == "PUT" else None
    won = [False] * 6

    def write(number: int) -> None:
        won[number] = files.put_if_absent("file", b"writer %d" % number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(won))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1
    assert files.read_if_present("file") == b"writer %d" % won.index(True)
