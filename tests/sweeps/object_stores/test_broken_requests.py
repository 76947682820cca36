"""Behind throttling, failures and connections that are reset, files in S3 are still written exactly once."""

import itertools
import threading

import pytest
from obstore.exceptions import GenericError

from sweeps.store.cloud_files import PATIENT, QUICK, CloudFiles

FAULTS = ["503 SlowDown", "500 InternalError", "reset before", "reset after"]


@pytest.fixture
def files(gateway, s3_url) -> CloudFiles:
    return CloudFiles(f"{s3_url}/run", QUICK)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_put_outlasts_a_fault(files, gateway, fault) -> None:
    gateway.fail_first(2, "PUT", fault)
    files.put("file", b"content")
    assert files.read_if_present("file") == b"content"
    assert [request.fault for request in gateway.requests if request.method == "PUT"] == [fault, fault, None]


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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_deletion_outlasts_a_fault(files, gateway, fault) -> None:
    files.put("file", b"content")
    gateway.fail_first(2, "POST", fault)
    files.delete("file")
    assert not files.exists("file")
    assert [request.fault for request in gateway.requests if request.method == "POST"] == [fault, fault, None]


def test_a_put_if_absent_gives_up_within_its_limit_after_growing_pauses(gateway, s3_url) -> None:
    gateway.choose = lambda method, _path: "reset before" if method == "PUT" else None
    with pytest.raises(GenericError, match="error sending request"):
        CloudFiles(f"{s3_url}/run", QUICK).put_if_absent("file", b"content")
    arrivals = [request.seconds for request in gateway.requests if request.method == "PUT"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert len(arrivals) == 1 + QUICK["max_retries"]
    assert all(gap >= 0.1 * 2**number for number, gap in enumerate(gaps))
    assert arrivals[-1] - arrivals[0] < QUICK["retry_timeout"].total_seconds()


def test_a_read_whose_answer_broke_off_is_whole(files, gateway) -> None:
    content = bytes(range(256)) * 4000
    files.put("file", content)
    gateway.fail_first(1, "GET", "reset amid")
    assert files.read_if_present("file") == content
    assert any(request.fault for request in gateway.requests)


def test_of_writers_in_a_race_behind_faults_one_wins_and_knows_it(gateway, s3_url) -> None:
    files = CloudFiles(f"{s3_url}/run", PATIENT)
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
