"""The export holds every image that a row names once, beside its facts, in the same bytes each time."""

import json
import tarfile
from pathlib import Path

import pytest

from sweeps.schemas import generate_results
from sweeps.store import RunDirectory, rows_table
from sweeps.store.__main__ import main
from sweeps.store.webdataset import export_webdataset, safe_key


@pytest.fixture
def finished(run, commit_shard) -> RunDirectory:
    """Return a run of three shards with two images each, and an orphan."""
    run.update_sweep(lambda _sweep: {"sweep": "generate"})
    for shard in range(3):
        commit_shard(run, f"plain-{shard}", [2 * shard, 2 * shard + 1])
    return run


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_images_and_facts_are_exported_in_shards(finished, tmp_path, make_images) -> None:
    finished.put_images("plain-9", 1, make_images([9]))
    output = tmp_path / "export"
    assert export_webdataset(finished, str(output), shard_size=4) == 6
    assert sorted(path.name for path in output.iterdir()) == ["000000.tar", "000001.tar"]
    first, second = members(output / "000000.tar"), members(output / "000001.tar")
    assert list(first)[:2] == ["plain-c0.png", "plain-c0.json"]
    assert list(second) == ["plain-c4.png", "plain-c4.json", "plain-c5.png", "plain-c5.json"]
    assert second["plain-c5.png"] == bytes([5]) * 1000
    facts = json.loads(second["plain-c5.json"])
    assert (facts["class_index"], facts["shard_id"], facts["judge_top1"]) == (5, "plain-2", {"judge": 5})


def test_the_same_run_gives_the_same_bytes(finished, tmp_path) -> None:
    for name in ("a", "b"):
        export_webdataset(finished, str(tmp_path / name))
    assert (tmp_path / "a/000000.tar").read_bytes() == (tmp_path / "b/000000.tar").read_bytes()


def test_an_export_to_s3_equals_one_to_a_disk(finished, tmp_path, s3_url) -> None:
    export_webdataset(finished, f"{s3_url}/export")
    export_webdataset(finished, str(tmp_path / "export"))
    assert (
        RunDirectory(f"{s3_url}/export").files.read("000000.tar")
        == (tmp_path / "export/000000.tar").read_bytes()
    )


def test_a_folder_with_tar_files_is_refused_and_left_alone(finished, tmp_path, capsys) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/000007.tar").touch()
    assert main(["export-webdataset", finished.url, str(tmp_path / "export")]) == 2
    assert "holds tar files already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["000007.tar"]


def test_an_output_that_cannot_be_written_is_a_mistake(finished, tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    assert main(["export-webdataset", finished.url, str(tmp_path / "file/export")]) == 2
    assert "cannot be written: a part of the path is a file" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "a/b", "a.b", "ä", "..", "a" * 300])
def test_a_hostile_key_becomes_a_safe_name(key) -> None:
    safe = safe_key(key)
    assert not set("/.\\") & set(safe)
    assert 0 < len(safe) < 200
    assert safe != safe_key(key + "x")


def test_an_ordinary_key_stays_as_it_is() -> None:
    assert safe_key("plain-c0001-s0000-t00128") == "plain-c0001-s0000-t00128"


def test_rows_that_share_an_image_share_its_facts_and_nan_is_null(tmp_path, make_rows, make_images) -> None:
    """One perturbation serves every epsilon: several rows name one image."""
    run = RunDirectory(tmp_path / "run")
    run.update_sweep(lambda _sweep: {"sweep": "generate"})
    image_file = run.put_images("plain-0", 1, make_images([0]))
    [row] = make_rows("plain-0", [0], image_file=image_file).to_pylist()
    rows = [row | {"seed": 0, "logit": float("nan")}, row | {"seed": 1, "logit": 2.0}]
    run.commit("plain-0", rows_table(rows, generate_results(["judge"])), image_file)
    export_webdataset(run, str(tmp_path / "export"))
    facts = json.loads(members(tmp_path / "export/000000.tar")["plain-c0.json"])
    assert facts["class_index"] == 0
    assert facts["rows"] == [{"seed": 0, "logit": None}, {"seed": 1, "logit": 2.0}]
