"""A request that took effect although its answer was lost is sent again; its writer learns the truth."""

from collections import Counter

import pytest

from sweeps.store import RunDirectory

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(params=["503 after", "reset after"])
def forgetful_run(request, gateway, s3_url) -> RunDirectory:
    """Return a run in S3 where each PUT takes effect, but only a repeated one is answered."""
    puts: Counter[str] = Counter()

    def choose(method: str, path: str) -> str | None:
        if method != "PUT":
            return None
        puts[path] += 1
        return request.param if puts[path] % 2 else None

    gateway.choose = choose
    return RunDirectory(f"{s3_url}/run")


def test_a_commit_whose_answer_was_lost_has_won_and_keeps_its_images(forgetful_run, commit_shard) -> None:
    image_file, won = commit_shard(forgetful_run, "plain-a", range(2))
    assert won
    assert [entry.name for entry in forgetful_run.images()] == [image_file]
    _, won = commit_shard(forgetful_run, "plain-a", range(2), attempt=2)
    assert not won
    assert [entry.name for entry in forgetful_run.images()] == [image_file]


def test_an_update_whose_answer_was_lost_is_made_once(forgetful_run) -> None:
    for _ in range(3):
        forgetful_run.update_sweep(lambda sweep: {"count": (sweep or {"count": 0})["count"] + 1})
    assert forgetful_run.read_sweep() == {"count": 3}


def test_a_store_that_fails_now_and_then_is_writable(forgetful_run) -> None:
    forgetful_run.check_writable()
    assert list(forgetful_run.files.list("")) == []
