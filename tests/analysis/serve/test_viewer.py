"""The viewer over HTTP: every row is found, what a page says is what the tables say, and what it refuses."""

import csv
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import load
from analysis.image_files import decode_png
from analysis.intervals import mean_interval
from analysis.serve import counts, order
from analysis.success_rates import success_rate
from sweeps.store import RunDirectory

Serve = Callable[..., Any]
MakeRun = Callable[..., Path]

METHODS = ("fgsm", "bim", "minimum_fgsm")


def misled(method: str, index: int, epsilon: float, clean: int) -> int:
    return (clean + 1) % 3 if epsilon > (index % 5) / 255 and method != "bim" else clean


@pytest.fixture
def attack(make_attack_run: MakeRun) -> Path:
    return make_attack_run(
        methods=METHODS,
        num_images=60,
        saved=range(3),
        predicted=misled,
        clean=lambda index, label: 0 if index % 7 == 0 else label,
        zero_gradient=lambda index: index == 4,
    )


def rows_of(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.body.decode())))


def test_all_rows_are_found_by_filters_and_counted(serve: Serve, attack: Path) -> None:
    served, rows = serve(attack), load.results(attack)
    kept = rows[(rows["method"] == "fgsm") & (rows["epsilon"] >= 2 / 255) & (rows["label"] != 1)]
    query = "method=fgsm&from.epsilon=2/255&label=0&label=2"
    answer = served.get(f"/run/0?{query}")
    assert answer.status == 200
    assert f"{len(kept)} rows of {len(rows)}" in answer.text
    listed = rows_of(served.get(f"/run/0/rows.csv?{query}"))
    assert {(row["key"], float(row["epsilon"])) for row in listed} == set(
        zip(kept["key"], kept["epsilon"], strict=True)
    )


@pytest.mark.parametrize("denominator", ["all", "initially_correct"])
@pytest.mark.parametrize(
    "by", [["method", "epsilon"], ["method"], ["label", "method"], [], ["epsilon", "label"]]
)
def test_success_is_what_the_table_of_success_rates_says(
    serve: Serve, attack: Path, by: list[str], denominator: Any
) -> None:
    groups = "".join(f"&by={name}" for name in by or ["none"])
    answer = serve(attack).get(f"/run/0/summary.csv?to.image_index=49&denominator={denominator}{groups}")
    rows = load.results(attack)
    expected = success_rate(rows[rows["image_index"] <= 49], by, denominator)
    found = pd.read_csv(io.StringIO(answer.body.decode()))[expected.columns]
    order = by or ["count"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True),
        expected.sort_values(order, ignore_index=True),
        check_dtype=False,
        check_categorical=False,
    )


def test_targeted_attacks_are_counted_as_in_the_table_and_not_pooled_with_others(
    serve: Serve, make_attack_run: MakeRun
) -> None:
    run = make_attack_run(targets=(None, 1), predicted=misled, num_images=12)
    served = serve(run)
    found = pd.read_csv(io.StringIO(served.get("/run/0/summary.csv?by=target").body.decode()))
    expected = success_rate(load.results(run), ["target"])
    assert found["rate"].to_list() == expected["rate"].to_list()
    page = served.get("/run/0?by=method")
    assert page.status == 200
    assert "pools targeted and untargeted attacks: add target to it" in page.text


def test_a_mean_has_the_interval_of_the_analysis(serve: Serve, attack: Path) -> None:
    answer = serve(attack).get("/run/0/summary.csv?measure=linf&by=method")
    found = pd.read_csv(io.StringIO(answer.body.decode())).set_index("method")
    for method, rows in load.results(attack).groupby("method", observed=True):
        mean, low, high, count = mean_interval(rows["linf"].astype(np.float64))
        assert found.loc[method].to_list() == pytest.approx([count, mean, low, high])


def test_an_empty_table_says_so(serve: Serve, attack: Path) -> None:
    page = serve(attack).get("/run/0?from.image_index=50&method=bim&success=true&histogram=loss&label=0")
    assert page.status == 200
    assert "No row matches" in page.text


def test_sorting_and_paging_reach_every_row_once(serve: Serve, attack: Path) -> None:
    served, rows = serve(attack), load.results(attack)
    places = []
    for page in range(1, -(-len(rows) // 50) + 1):
        answer = served.get(f"/run/0?sort=-linf&page={page}")
        places += re.findall(r"/run/0/image/(test%2F\d+)", answer.body.decode())
    assert sorted(places) == sorted(quote(key, safe="") for key in rows["key"])
    first = served.get("/run/0?sort=-image_index").body.decode()
    assert "test%2F59" in first
    assert "test%2F0&" not in first


def test_a_page_far_behind_is_found_among_the_rows_near_it(
    serve: Serve, make_attack_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that are guessed by a sample have the rows that sorting all gives."""
    served = serve(make_attack_run(methods=METHODS, num_images=300, predicted=misled))
    queries = ("sort=loss", "sort=-loss", "sort=-key&method=fgsm&method=bim", "sort=epsilon")
    paths = [f"/run/0?{query}&page={page}" for query in queries for page in (1, 9, 20, 36)]
    expected = [table_of(served.get(path)) for path in paths]
    monkeypatch.setattr(order, "_FAR", 0)
    monkeypatch.setattr(order, "_SAMPLED", 7)
    monkeypatch.setattr(order, "_MARGIN", 20)
    by_sample = []
    before = order._places_between

    def noted(rows: Any, view: Any, num_rows: int) -> list[int]:
        found = before(rows, view, num_rows)
        by_sample.append((view.sort.name, bool(found)))
        return found

    monkeypatch.setattr(order, "_places_between", noted)
    assert [table_of(served.get(path)) for path in paths] == expected
    assert {("loss", True), ("key", True)} <= set(by_sample)


def table_of(answer: Any) -> str:
    assert answer.status == 200
    return str(answer.body.decode().partition('<h2 id="rows-title">')[2].partition("</table>")[0])


def test_counts_of_axes_say_what_all_rows_say(
    serve: Serve, attack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = (
        "",
        "by=method&by=label",
        "by=none&success=true",
        "by=epsilon&label=1",
        "measure=zero_gradient",
    )
    paths = [
        f"/run/0/summary.csv?denominator={denominator}&{query}"
        for query in queries
        for denominator in ("all", "initially_correct")
    ]
    served = serve(attack)
    expected = [served.get(path).body for path in paths]
    monkeypatch.setattr(counts, "LEAST_ROWS", 0)
    served = serve(attack)
    rows, answer = served.viewer.rows[0], served.viewer.rows[0].answer
    asked: list[str] = []
    monkeypatch.setattr(
        rows, "answer", lambda sql, parameters=(): asked.append(sql) or answer(sql, parameters)
    )
    assert [served.get(path).body for path in paths] == expected
    assert all(rows.counts.table in sql for sql in asked)
    # What the counts do not tell apart is counted from all rows.
    assert served.get("/run/0/summary.csv?by=label&from.loss=0&measure=success").status == 200
    assert rows.counts.table not in asked[-1]


def test_a_run_that_was_removed_meanwhile_is_said_so(serve: Serve, attack: Path) -> None:
    served = serve(attack)
    shutil.rmtree(attack)
    index = served.get("/")
    assert index.status == 200
    assert "cannot be read" in index.text
    for path in ("/run/0", "/run/0/image/test%2F1", "/run/0/rows.csv"):
        page = served.get(path)
        assert page.status == 500
        assert str(attack) in page.text


def test_the_bars_of_a_histogram_hold_all_rows_and_lead_to_them(serve: Serve, attack: Path) -> None:
    served = serve(attack)
    for name, num_bars in (("label", 3), ("linf", 4)):
        answer = served.get(f"/run/0?histogram={name}&method=fgsm&method=minimum_fgsm")
        bars = re.findall(r'<a href="([^"]*)#rows" aria-label="[^"]*: (\d+) rows?"', answer.body.decode())
        assert sum(int(number) for _, number in bars) == 60 * 3 + 60
        assert len(bars) == num_bars
        for link, number in bars:
            assert f"{number} row" in served.get("/run/0" + link.replace("&amp;", "&")).text


def test_a_bar_leads_to_the_rows_that_it_counts_and_not_to_its_neighbours(
    serve: Serve, make_attack_run: MakeRun
) -> None:
    # At the edge of two bins, and between two numbers of 32 bits.
    run = make_attack_run(num_images=40, epsilons=(0.0, 0.24, 0.25, 0.49, 0.5, 0.74, 0.75, 1.0))
    served = serve(run)
    answer = served.get("/run/0?histogram=epsilon")
    bars = re.findall(r'<a href="([^"]*)#rows" aria-label="[^"]*: ([\d,]+) rows?"', answer.body.decode())
    assert len(bars) > 4
    for link, number in bars:
        found = served.get("/run/0" + link.replace("&amp;", "&")).text
        assert f"clear all {number} rows of 320 Summary" in found, link


def test_an_image_has_a_page_with_its_rows_and_stored_pictures(serve: Serve, attack: Path) -> None:
    answer = serve(attack).get("/run/0/image/test%2F2")
    assert answer.status == 200
    rows = load.results(attack)
    assert f"{(rows['key'] == 'test/2').sum()} rows" in answer.text
    stored = [link for link in answer.links if "/stored/" in link]
    assert len(stored) == 3 * 7


def test_a_stored_picture_is_the_file_that_the_run_stores(serve: Serve, attack: Path) -> None:
    served, rows = serve(attack), load.results(attack)
    row = rows[rows["image_key"].notna()].iloc[0]
    path = f"/run/0/stored/{row['image_file']}/{quote(row['image_key'], safe='')}"
    assert path in served.get(f"/run/0/image/{quote(row['key'], safe='')}").links
    answer = served.get(path)
    assert answer.headers["content-type"] == "image/png"
    assert [answer.body] == load.encoded_images(attack, [row["image_key"]])


def test_the_maps_of_an_image_are_drawn(serve: Serve, attack: Path, attributions: Path) -> None:
    served = serve(attack, attributions)
    answer = served.get("/run/1/image/test%2F1")
    paths = [link for link in answer.links if "/map/" in link]
    assert paths == ["/run/1/map/shard-0.parquet/2", "/run/1/map/shard-0.parquet/3"]
    red, blue = (decode_png("map", served.get(path).body)[0, 0] for path in paths)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert Image.open(io.BytesIO(served.get(paths[0]).body)).size == (8, 8)
    # The same image in the other run, both ways.
    assert "/run/0/image/test%2F1" in answer.links
    assert "/run/1/image/test%2F1" in served.get("/run/0/image/test%2F1").links
    assert "/run/1/image/test%2F2" not in served.get("/run/0/image/test%2F2").links


def test_a_run_of_generated_images_has_pages_by_their_keys(serve: Serve, make_run: MakeRun) -> None:
    served = serve(make_run(wrong=lambda judge, index, seed: seed == 0))
    page = served.get("/run/0?judge_top5_hit.lite1=false")
    assert "6 rows of 12" in page.text
    answer = served.get("/run/0/image/default%2F2%2F1")
    assert answer.status == 200
    assert len([link for link in answer.links if "/stored/" in link]) == 1
    rates = pd.read_csv(io.StringIO(served.get("/run/0/summary.csv?measure=correct&by=none").body.decode()))
    assert rates["correct"].to_list() == [1.0]


def test_rows_that_are_committed_meanwhile_are_there_at_the_next_look(
    serve: Serve, make_attack_run: MakeRun, tmp_path: Path
) -> None:
    growing, later = make_attack_run(num_images=4), make_attack_run("later", num_images=8)
    served = serve(growing)
    assert "12 rows" in served.get("/run/0").text
    [fresh] = [path for path in (later / "results").iterdir() if path.name.endswith("-000004.parquet")]
    (growing / "results" / fresh.name).write_bytes(fresh.read_bytes())
    assert "24 rows" in served.get("/run/0").text
    assert served.get("/run/0/image/test%2F7").status == 200
    assert "of the unfinished" not in served.get("/run/0").text
    # A file that is gone takes its rows along.
    (growing / "results" / fresh.name).unlink()
    assert "12 rows" in served.get("/run/0").text
    assert served.get("/run/0/image/test%2F7").status == 404
    RunDirectory(growing).mark_success()
    assert "finished" in served.get("/").text


def test_empty_fields_of_a_form_leave_the_address(serve: Serve, attack: Path) -> None:
    answer = serve(attack).get("/run/0?from.loss=&method=fgsm&has.key=&histogram=&page=2")
    assert (answer.status, answer.headers["location"]) == (303, "/run/0?method=fgsm&page=2")


HOSTILE = "<script>alert(1)</script>\"'; DROP TABLE rows; --"


def test_hostile_names_stay_text(serve: Serve, make_attack_run: MakeRun) -> None:
    served = serve(make_attack_run(checkpoints=(HOSTILE, "b"), name=lambda index: HOSTILE, saved=[0]))
    for path in ("/", "/run/0?by=checkpoint&by=label_name", f"/run/0?checkpoint={quote(HOSTILE)}"):
        page = served.get(path)
        assert page.status == 200
        assert b"<script>alert" not in page.body
    assert "18 rows of 36" in page.text
    assert "36 rows" in served.get(f"/run/0?label_name={quote(HOSTILE)}").text
    nothing = served.get(f"/run/0/image/{quote(HOSTILE, safe='')}")
    assert nothing.status == 404
    assert b"<script>alert" not in nothing.body


BAD = (
    ("method=fgsmm", "method is 'fgsmm': choose from bim, fgsm, minimum_fgsm"),
    ("from.loss=big", "from.loss is 'big': give a number such as 0.03 or 8/255"),
    ("from.loss=nan", "from.loss is 'nan': give a number"),
    ("from.loss=1/0", "from.loss is '1/0': give a number"),
    ("label=1.5", "label is '1.5': give a whole number"),
    ("label=" + "9" * 40, "give a whole number"),
    ("success=maybe", "success is 'maybe': choose from true, false"),
    ("has.loss=3", "has.loss is '3': loss holds no text"),
    ("from.method=a", "from.method is 'a': method holds no numbers"),
    ("is.target=nothing", "is.target is 'nothing': choose from null, present"),
    ("sort=nothing", "sort is 'nothing': choose from sweep, model"),
    ("by=nothing", "by is 'nothing': choose from"),
    ("measure=method", "measure is 'method': choose from"),
    ("histogram=method", "histogram is 'method': choose from"),
    ("denominator=some", "denominator is 'some': choose from all, initially_correct"),
    ("page=0", "page is '0': give a whole number, 1 or more"),
    ("page=999", "page is '999': these rows have pages 1 to"),
    ("colour=red", "'colour' is no field of this page"),
    ("method=%ff", "give UTF-8"),
)


def test_a_bad_value_is_a_page_that_names_field_value_and_choice(serve: Serve, attack: Path) -> None:
    served = serve(attack)
    for query, words in BAD:
        answer = served.get(f"/run/0?{query}")
        assert answer.status == 400, query
        assert words in answer.text


NOTHING = (
    "/nothing",
    "/run/1",
    "/run/x",
    "/run/0/image/nothing",
    "/run/0/stored/..%2F..%2Fsweep.json/key",
    "/run/0/stored/%2Fetc%2Fpasswd/key",
    "/run/0/stored/missing.parquet/key",
    "/run/0/map/shard-000-000000.parquet/0",
    "/assets/..%2Fsite.py",
    "/run/0/rows.json",
)


def test_an_address_of_nothing_is_not_found(serve: Serve, attack: Path) -> None:
    served = serve(attack)
    for path in NOTHING:
        assert served.get(path).status == 404, path


def test_only_get_from_this_machine_by_its_own_name(serve: Serve, attack: Path) -> None:
    served = serve(attack)
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        answer = served.get("/", method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
    for host, status in (("localhost", 200), ("LOCALHOST:81", 200), ("evil.example", 403), ("", 403)):
        assert served.get("/", host=host).status == status
    assert served.get("/", host="127.0.0.1.evil.example").status == 403
    headers = served.get("/").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_every_link_of_every_page_is_answered(serve: Serve, attack: Path, attributions: Path) -> None:
    served = serve(attack, attributions)
    for path in ("/", "/run/0?method=fgsm&sort=loss&histogram=l2", "/run/1", "/run/0/image/test%2F1"):
        for link in {link.partition("#")[0] for link in served.get(path).links} - {""}:
            target = path.partition("?")[0] + link if link.startswith("?") else link
            assert served.get(target).status == 200, (path, link)


def test_a_fault_of_the_viewer_is_told_to_the_browser_and_the_next_page_is_answered(
    serve: Serve,
    make_attack_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served = serve(make_attack_run())
    with monkeypatch.context() as patch:
        patch.setattr(served.viewer, "respond", lambda parts, query: {}["<script>"])
        answer = served.get("/run/0")
    assert answer.status == 500
    assert "the viewer failed, which is its own fault: KeyError: '<script>'" in answer.text
    assert b"<script>'" not in answer.body
    assert "KeyError" in capsys.readouterr().err
    assert served.get("/run/0").status == 200
