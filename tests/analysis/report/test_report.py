"""The command `python -m analysis.report`: what its pages hold, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
import pytest

from analysis import load
from analysis.command_line import exit_status
from analysis.report.__main__ import main
from sweeps.store import ImageFailure, RunDirectory

MakeRun = Callable[..., Path]
Report = Callable[..., Path]
ReadPage = Callable[[Path], Any]
DescribeRun = Callable[..., None]

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "../../../etc/passwd",
    "\" onmouseover='alert(1)' {{ 7 * 7 }}",
    "W" * 300,
    "\u202e\u05e9\u05dc\u05d5\u05dd",
]

BLOCK = {"axes": {"recipe": ["plain", "default"], "seed": "0-1", "class_index": "0-2"}, "shard_size": 4}
INVOCATION = {
    "started": "2026-01-02T03:04:05+00:00",
    "command": ["sweeps/generate_all.py", "--output", "my runs/it's"],
    "versions": {"torch": "2.14.1"},
    "git_commit": "abc123",
    "num_classes": 1000,
}


def test_every_link_of_every_page_leads_to_a_file_of_the_report(
    make_run: MakeRun, report: Report, page: ReadPage
) -> None:
    folder = report(make_run("one"), make_run("two", seeds=range(5)))
    pages = list(folder.rglob("*.html"))
    assert len(pages) == 2 + 2 * 3
    for path in pages:
        anchors = {held["id"] for _, held in page(path).elements if held.get("id")}
        for link in page(path).links():
            parts = urlsplit(link)
            assert not parts.scheme, link
            if parts.path:
                assert (path.parent / unquote(parts.path)).is_file(), f"{path.name}: {link}"
            else:
                assert parts.fragment in anchors | {"top", "content"}, link


def test_a_gallery_shows_each_class_once_and_leads_to_its_page(
    make_run: MakeRun, report: Report, page: ReadPage
) -> None:
    index = page(report(make_run(wrong=lambda judge, class_index, seed: class_index == 1)) / "index.html")
    assert len(index.classes("card")) == 3
    assert "run-0/class-0002.html" in index.links()
    pictures = [held for tag, held in index.elements if tag == "img"]
    assert [held["alt"] for held in pictures] == [
        "class 0: 2 of 2 right",
        "class 1: 0 of 2 right",
        "class 2: 2 of 2 right",
    ]
    assert {held["loading"] for held in pictures} == {"lazy"}


def test_the_gallery_filters_by_verdicts_of_each_judge_recipe_and_seed(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run(num_classes=2, wrong=lambda judge, index, seed: (judge, index, seed) == ("lite2", 1, 0))
    describe_run(run, blocks=[BLOCK])
    data = json.loads(page(report(run) / "index.html").scripts[-1])
    assert data["judges"] == ["lite1", "lite2", "lite0"]
    assert data["recipes"] == ["plain", "default"]
    assert data["codes"] == [["1111", "1111", "1111"], ["1111", "0101", "1111"]]


def test_warnings_of_a_run_stand_at_the_top_once(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run()
    warning = "net on 100 of 10,000 images of <b>set</b>/test: 0 % right: no better than chance"
    describe_run(
        run,
        invocations=[INVOCATION, INVOCATION | {"warnings": [warning]}, INVOCATION | {"warnings": [warning]}],
    )
    index = page(report(run) / "index.html")
    assert len(index.classes("notice")) == 1
    assert index.text.count(f"Warning about {run.name}: {warning}.") == 1


def test_each_kind_of_device_that_computed_rows_is_named(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run()
    card = {
        "device": "cuda",
        "precision": "tf32",
        "matmul": "tf32",
        "name": "NVIDIA <b>X</b>",
        "cuda": "13.0",
    }
    describe_run(run, devices=[{"device": "cpu", "name": "AVX2", "precision": "float32"}, card])
    text = page(report(run) / "index.html").text
    assert "cpu AVX2 (float32)" in text
    assert "cuda NVIDIA <b>X</b> (tf32; matmul tf32; cuda 13.0)" in text


def test_a_class_page_shows_all_seeds_and_recipes_with_verdicts_and_a_curve(
    make_run: MakeRun, report: Report, page: ReadPage
) -> None:
    run = make_run(wrong=lambda judge, index, seed: (judge, index, seed) == ("lite2", 1, 0))
    found = page(report(run) / "run-0" / "class-0001.html")
    assert [held["alt"] for tag, held in found.elements if tag == "img"] == [
        "class 1, default, seed 0: lite1 right, lite2 wrong, lite0 right",
        "class 1, default, seed 1: lite1 right, lite2 right, lite0 right",
        "class 1, plain, seed 0: lite1 right, lite2 wrong, lite0 right",
        "class 1, plain, seed 1: lite1 right, lite2 right, lite0 right",
    ]
    assert "lite2: class 2 (class 2)" in re.sub(r"\s+", " ", found.text)
    assert len([tag for tag, _ in found.elements if tag == "polyline"]) == 4


def test_full_images_are_the_files_that_the_run_stores(make_run: MakeRun, report: Report) -> None:
    run = make_run(recipes=("default",))
    (stored,) = load.encoded_images(run, ["default/2/1"])
    assert (report(run) / "run-0" / "images" / "0002-0-1.png").read_bytes() == stored


def test_recipes_are_compared_by_judges_with_intervals(
    make_run: MakeRun, report: Report, page: ReadPage
) -> None:
    folder = report(make_run(wrong=lambda judge, index, seed: seed == 0))
    text = re.sub(r"\s+", " ", page(folder / "index.html").text)
    assert "lite1 50.0 % 18.8 to 81.2 % 50.0 % 6" in text
    assert "lite0 made the images 100.0 % 61.0 to 100.0 % 100.0 % 6" in text
    assert (folder / "run-0" / "judge-accuracy.csv").read_text().startswith("judge,is_judge,recipe,rate")


def test_a_run_of_grey_images_without_judges_is_shown(
    make_run: MakeRun, report: Report, page: ReadPage
) -> None:
    folder = report(make_run(judges=(), channels=1))
    assert len(page(folder / "index.html").classes("card")) == 3
    assert "lite0 (made the images)" in page(folder / "index.html").text


def test_hostile_names_stay_text_and_reach_no_path(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run(
        num_classes=6, recipes=HOSTILE[:3], judges=("</script>",), name=lambda index: HOSTILE[index]
    )
    describe_run(
        run, invocations=[INVOCATION | {"command": [*HOSTILE, "\udcff"]}], settings={HOSTILE[0]: HOSTILE[1]}
    )
    folder = report(run)
    for path in folder.rglob("*.html"):
        found = page(path)
        tags = [tag for tag, _ in found.elements]
        assert tags.count("script") == 1 + (path.name == "index.html")
        assert not [held for _, held in found.elements if any(name.startswith("on") for name in held)]
        assert "{{ 7 * 7 }}" in found.text or path.name != "class-0003.html"
    assert json.loads(page(folder / "index.html").scripts[-1])["recipes"] == sorted(HOSTILE[:3])
    written = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert [path for path in written if not re.fullmatch(r"[a-z0-9/.-]+", path) or ".." in path] == []


def test_an_unfinished_run_says_so_and_what_is_missing(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run()
    describe_run(run, finished=False, blocks=[BLOCK])
    (run / "results" / "shard-000004.parquet").unlink()
    text = re.sub(r"\s+", " ", page(report(run) / "index.html").text)
    assert "run is unfinished. 2 of 4 planned shards are committed; 2 are missing." in text
    assert "8 images, of 12 planned, of 3 classes" in text


def test_failures_are_listed_with_what_went_wrong(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run()
    describe_run(run, finished=False, blocks=[BLOCK])
    traceback = (
        'Traceback (most recent call last):\n  File "job.py", line 3\n    go()\nRuntimeError: <b>no</b>\nmore'
    )
    RunDirectory(run).quarantine("plain-seed0", {"attempts": 3, "traceback": traceback})
    found = page(report(run) / "index.html")
    text = re.sub(r"\s+", " ", found.text)
    assert "1 shard was given up after failures" in text
    assert "plain-seed0 after 3 attempts RuntimeError: <b>no</b>" in text
    assert traceback in found.text


def test_images_that_could_not_be_used_are_counted_and_named(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run()
    describe_run(run, finished=False, blocks=[BLOCK])
    schema = pq.read_schema(next((run / "results").iterdir()))
    failure = ImageFailure(image_index=3, key="<b>dog</b>/3.png", reason="truncated", sha256="0" * 64)
    RunDirectory(run).commit("plain-again-0123456789ab", schema.empty_table(), None, [failure])
    text = re.sub(r"\s+", " ", page(report(run) / "index.html").text)
    assert "1 image could not be used and has no rows" in text
    assert "<b>dog</b>/3.png truncated" in text


def test_provenance_gives_the_command_as_a_shell_takes_it(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run()
    describe_run(
        run, blocks=[BLOCK], invocations=[INVOCATION], settings={"judges": {"lite1": "d1"}, "frames": ""}
    )
    found = page(report(run) / "index.html")
    command = """python sweeps/generate_all.py --output 'my runs/it'"'"'s'"""
    assert command in found.text
    assert [held["data-copy"] for held in found.classes("copy")] == [command]
    for fact in ("abc123", "2.14.1", "judges: lite1", "2026-01-02T03:04:05+00:00", "class_index 3: 0-2"):
        assert fact in re.sub(r"\s+", " ", found.text)


def test_a_sweep_without_a_section_is_named_and_its_provenance_shown(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    run = make_run()
    describe_run(run, sweep="distill")
    text = page(report(run) / "index.html").text
    assert "no section for sweeps of the kind “distill” yet" in text
    assert "Provenance" in text


def test_a_report_replaces_an_earlier_one_and_leaves_no_page_of_it(make_run: MakeRun, report: Report) -> None:
    small, large = make_run("small", num_classes=1), make_run("large", num_classes=4)
    alone = {path.relative_to(folder) for folder in [report(small)] for path in folder.rglob("*")}
    report(large, small)
    again = {path.relative_to(folder) for folder in [report(small)] for path in folder.rglob("*.*")}
    assert again == {path for path in alone if path.suffix}


def test_a_report_that_was_interrupted_says_so_and_can_be_made_again(
    make_run: MakeRun, report: Report, page: ReadPage, tmp_path: Path
) -> None:
    run = make_run()
    image = next((run / "images").iterdir())
    kept = image.read_bytes()
    image.unlink()
    with pytest.raises(ValueError, match="has no file images/"):
        report(run)
    assert "is being written" in page(tmp_path / "report" / "index.html").text
    image.write_bytes(kept)
    assert "Gallery" in page(report(run) / "index.html").text


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("taken", "taken cannot be written: it is a file, not a folder"),
        ("/proc/report", "/proc/report cannot be written"),
        ("run/report", "lies in the run directory"),
        ("run", "lies in the run directory"),
        ("holiday", "holds files that are no report's"),
        ("ftp://host/report", "is not accepted"),
    ],
)
def test_a_place_that_cannot_hold_the_report_is_refused(
    make_run: MakeRun,
    report: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "index.html").write_text("Our summer")
    with pytest.raises(ValueError, match=message):
        report(make_run(), output=output)
    assert (tmp_path / "holiday" / "index.html").read_text() == "Our summer"


def test_what_is_no_readable_run_is_refused_before_anything_is_written(
    make_run: MakeRun, report: Report, describe_run: DescribeRun, tmp_path: Path
) -> None:
    newer, empty, broken = make_run("newer"), make_run("empty", num_classes=0), make_run("broken")
    describe_run(newer, schema_version=99)
    (broken / "failures").mkdir()
    (broken / "failures" / "shard.json").write_text("{")
    for run, message in [
        (tmp_path, "is not a run directory: it has no sweep.json"),
        (newer, "schema_version of .*newer is 99: this release reads 1"),
        (empty, "empty is empty: no shard has been committed"),
        (broken, "broken, in failures/ or progress.json, is no JSON"),
    ]:
        with pytest.raises(ValueError, match=message):
            report(make_run("good"), run)
    good = make_run("good")
    with pytest.raises(ValueError, match="good is given 2 times"):
        report(good, f"{good}/")
    assert not (tmp_path / "report").exists()


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert exit_status(interrupted) == 130
    assert capsys.readouterr().err == "Interrupted; the same command starts over\n"


def test_a_mistake_is_one_line_and_exit_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: main([str(tmp_path), "--output", str(tmp_path / "report")])) == 2
    assert re.fullmatch(r"error: .* is not a run directory.*\n", capsys.readouterr().err)
