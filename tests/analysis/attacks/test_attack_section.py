"""The section of an attack sweep: rates, curves, minima, classes, confusion and images of small runs."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import load, result_files
from analysis.attacks.rows import load_rows
from analysis.attacks.success_rates import DENOMINATORS, success_rate
from sweeps.schemas import SCHEMA_VERSION, attack_results
from sweeps.store import RunDirectory, rows_table

MakeRun = Callable[..., Path]
Report = Callable[..., Path]
ReadPage = Callable[[Path], Any]
SectionPage = Callable[..., Any]
DescribeRun = Callable[..., None]

HOSTILE = ("<script>alert(1)</script>", "../../\" onload='x' {{ 7 * 7 }}", "W" * 300, "$\\frac{\u202e\u05e9")

AXES = {
    "method": ["pgd", "fgsm"],
    "checkpoint": ["final"],
    "target": ["untargeted"],
    "image_index": "0-11",
    "epsilon": [0.0, 2 / 255, 8 / 255],
}


def fooled_beyond(limit: float) -> Callable[[str, int, float, int], int]:
    """A prediction that is another class for images whose index is below ε · 255 · `limit`."""
    return lambda method, index, epsilon, clean: (clean + int(epsilon * 255 * limit > index)) % 3


def words(found: Any) -> str:
    return re.sub(r"\s+", " ", found.text)


def charts(found: Any) -> list[str]:
    """What the charts are said to show."""
    return [held["aria-label"] for tag, held in found.elements if tag == "svg" and held.get("role") == "img"]


def test_the_table_to_download_is_what_pandas_gives_of_all_rows(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_attack_run(
        methods=("fgsm", "pgd", "minimum_fgsm"),
        targets=(None, 1),
        checkpoints=("untrained", "trained"),
        num_images=12,
        clean=lambda index, label: (label + (index == 5)) % 3,
        predicted=fooled_beyond(1),
    )
    by = ["checkpoint", "method", "target", "epsilon"]
    expected = pd.concat(
        success_rate(load_rows(run), by, denominator).assign(denominator=denominator)
        for denominator in DENOMINATORS
    )
    written = pd.read_csv(section_page(run).path.parent / "run-0" / "success-rates.csv")
    pd.testing.assert_frame_equal(
        written.sort_values(["denominator", *by], ignore_index=True),
        expected.sort_values(["denominator", *by], ignore_index=True)[written.columns],
        check_dtype=False,
        check_categorical=False,
    )
    assert len(written) == 2 * 2 * 2 * 2 * 3


def test_rates_are_in_the_table_with_their_intervals(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_attack_run(
        num_images=8, clean=lambda index, label: (label + (index == 7)) % 3, predicted=fooled_beyond(0.5)
    )
    # Of seven images that were right, the first four are misled at 8/255; the eighth is wrong anyway.
    rows = section_page(run).rows()
    assert ["8/255", "7", "57.1 %", "", "25.0 to 84.2 %", "62.5 %", "37.5 %"] in rows
    assert ["2/255", "7", "14.3 %", "", "2.6 to 51.3 %", "25.0 %", "75.0 %"] in rows


def test_curves_are_drawn_by_attack_in_the_order_that_was_asked_for_and_said_in_words(
    make_attack_run: MakeRun, section_page: SectionPage, describe_run: DescribeRun
) -> None:
    run = make_attack_run(methods=("fgsm", "pgd"), num_images=12, predicted=fooled_beyond(1))
    describe_run(run, blocks=[{"axes": AXES, "shard_size": 12}])
    found = section_page(run)
    assert charts(found) == [
        f"Success against ε, final: {among}: pgd from 0.0 % at 0/255 to 66.7 % at 8/255; "
        "fgsm from 0.0 % at 0/255 to 66.7 % at 8/255"
        for among in ("images right to begin with", "all images")
    ]
    assert len([tag for tag, _ in found.elements if tag == "polyline"]) == 4
    assert len(found.classes("band")) == 4
    assert not [held for _, held in found.elements if "style" in held]


def test_checkpoints_are_held_against_each_other_too(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_attack_run(checkpoints=("trained", "untrained"), targets=(None, 2)))
    assert "Checkpoints side by side" in found.text
    # Two panels for each checkpoint, one for each attack.
    assert len(charts(found)) == 2 * 2 + 2
    assert any("fgsm, targeted: images right to begin with: trained from" in chart for chart in charts(found))


def test_of_many_checkpoints_some_are_drawn_and_the_table_holds_all(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    names = [f"step {number:02d}" for number in range(20)]
    found = section_page(make_attack_run(checkpoints=names, num_images=2, epsilons=(0.0, 8 / 255)))
    folder, text = found.path.parent, words(found)
    assert "6 of 20 checkpoints are shown, evenly chosen" in text
    assert "The first 6 of 20 attacks on checkpoints" in text
    assert pd.read_csv(folder / "run-0" / "success-rates.csv")["checkpoint"].nunique() == 20


def test_success_by_class_is_a_table_with_a_colour_for_each_share(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    def predicted(method: str, index: int, epsilon: float, clean: int) -> int:
        """Class 0 is misled at 2/255 and class 1 at 8/255, class 2 never."""
        return (clean + int(epsilon * 255 > 1 + 5 * clean)) % 3

    found = section_page(make_attack_run(num_images=12, predicted=predicted))
    assert found.rows("Class")[:3] == [
        ["0 class 0", "0", "100", "100"],
        ["1 class 1", "0", "0", "100"],
        ["2 class 2", "0", "0", "0"],
    ]
    # Those of the classes, and of the confusion.
    assert len(found.classes("h10")) == 3 + 3


def test_confusion_is_at_the_smallest_epsilon_that_misleads_half(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_attack_run(num_images=12, predicted=fooled_beyond(3)))
    assert "What images are taken for at ε = 2/255" in found.text
    # Of each class four images, of which the first two are taken for the next class.
    assert found.rows("Label")[:3] == [
        ["0 class 0", "2", "2", ""],
        ["1 class 1", "", "2", "2"],
        ["2 class 2", "2", "", "2"],
    ]
    assert len(found.classes("own")) == 3


def test_many_classes_are_on_a_page_of_their_own_and_confused_pairs_in_a_list(
    make_attack_run: MakeRun, section_page: SectionPage, page: ReadPage
) -> None:
    found = section_page(
        make_attack_run(
            num_images=60,
            num_classes=60,
            shard_size=60,
            predicted=lambda method, index, epsilon, clean: clean + int(epsilon > 0 and index >= 30),
        )
    )
    text = words(found)
    assert "Of 60 classes, the 20 that give way least, then the 20 that give way most." in text
    assert "Most frequent confusions at ε = 2/255" in text
    assert found.rows("Label")[0] == ["30 class 30", "31 class 31", "1", "100.0 %"]
    every = page(found.path.parent / "run-0" / "classes-0.html")
    assert "run-0/classes-0.html" in found.links()
    assert len([tag for tag, _ in every.elements if tag == "tr"]) == 61


def test_triptychs_show_misled_and_kept_images_of_different_classes_as_they_are_stored(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_attack_run(num_images=24, saved=range(24), predicted=fooled_beyond(1.5), shard_size=24)
    found = section_page(run)
    folder = found.path.parent
    pictures = [held for tag, held in found.elements if tag == "img"]
    assert [held["alt"] for held in pictures[:3]] == [
        "image 0 as it is",
        "perturbation of image 0 by fgsm",
        "image 0 under fgsm",
    ]
    assert len(pictures) == 8 * 4
    verdicts = [held["class"] for held in found.classes("verdict")]
    assert verdicts.count("verdict bad") == 4
    [stored] = load.images(run, ["final-fgsm-None-0-clean"])
    with Image.open(BytesIO((folder / pictures[0]["src"]).read_bytes())) as written:
        np.testing.assert_array_equal(np.asarray(written), stored.repeat(3, -1))


def test_without_a_stored_perturbation_the_change_is_shown(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_attack_run(saved=range(6), predicted=fooled_beyond(1))
    for path in (run / "results").iterdir():
        table = result_files.open_rows(RunDirectory(run), path.name).read().to_pandas()
        table[["perturbation_file", "perturbation_key"]] = None
        records = table.astype(object).where(table.notna(), None).to_dict("records")
        path.unlink()
        RunDirectory(run).commit(path.stem, rows_table(records, attack_results()), None)
    found = section_page(run)
    assert len([tag for tag, _ in found.elements if tag == "img"]) == 6 * 3
    assert "not stored" not in words(found)
    assert re.search(r"enhanced ×60\s*ε = 8/255", found.text)
    assert not re.search(r"perturbation\s*ε", found.text)


def test_a_run_that_stored_no_image_says_so(make_attack_run: MakeRun, section_page: SectionPage) -> None:
    found = section_page(make_attack_run())
    assert "The run stored no image of this attack at ε = 2/255: see the sweep's --save-images." in words(
        found
    )
    assert not [tag for tag, _ in found.elements if tag == "img"]


def test_minima_are_drawn_as_a_distribution_with_their_quartiles(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_attack_run(
        methods=("fgsm", "minimum_fgsm"),
        num_images=8,
        saved=range(8),
        minimum=lambda index: None if index == 7 else (1 + index) / 255,
    )
    found = section_page(run)
    assert charts(found)[-1].endswith("final: minimum_fgsm reaches 87.5 %")
    row = ["minimum_fgsm", "2.00", "4.00", "6.00", "87.5 %", "52.9 to 97.8 %", "8"]
    assert found.rows("Attack").count(row) == 1
    assert "Images at their minimum ε" in found.text
    quartiles = pd.read_csv(found.path.parent / "run-0" / "minimum-epsilon-quartiles.csv")
    assert quartiles["median"].to_list() == [pytest.approx(4 / 255)]


def test_a_run_of_minima_alone_has_no_rates_and_says_so(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    found = section_page(make_attack_run(methods=("minimum_fgsm",), targets=(None, 1)))
    assert "No attack at a given ε is among the rows" in found.text
    assert len(charts(found)) == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"epsilons": (0.0,)}, id="no ε but 0"),
        pytest.param({"num_images": 1}, id="one image"),
        pytest.param({"clean": lambda index, label: (label + 1) % 3}, id="none right to begin with"),
        pytest.param({"targets": (0, 1)}, id="targeted alone"),
        pytest.param({"methods": ("gradient_alone",), "channels": 3}, id="gradients alone, in colour"),
        pytest.param({"methods": ("minimum_fgsm",), "minimum": lambda index: None}, id="no minimum found"),
        pytest.param({"num_images": 3, "targets": (0,), "num_classes": 1}, id="the target is every label"),
    ],
)
def test_odd_runs_have_a_section_too(
    make_attack_run: MakeRun, section_page: SectionPage, content: dict[str, Any]
) -> None:
    found = section_page(make_attack_run(**({"saved": range(6)} | content)))
    assert "Attack by attack" in found.text
    assert "nan" not in words(found)


def test_zero_gradients_are_mentioned_where_there_are_any(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    assert "no gradient for up to 50.0 % of the images" in words(
        section_page(make_attack_run(num_images=4, zero_gradient=lambda index: index < 2))
    )


def test_an_unfinished_run_is_shown_as_far_as_it_came(
    make_attack_run: MakeRun, section_page: SectionPage, describe_run: DescribeRun
) -> None:
    run = make_attack_run(methods=("fgsm", "pgd"), num_images=12)
    describe_run(run, finished=False, blocks=[{"axes": AXES, "shard_size": 4}])
    for path in list((run / "results").glob("shard-001-*"))[:2]:
        path.unlink()
    text = words(section_page(run))
    assert "as far as the run has come" in text
    assert "4 of 6 planned shards are committed; 2 are missing." in text


def test_a_run_whose_shards_hold_no_rows_says_so(tmp_path: Path, section_page: SectionPage) -> None:
    run = RunDirectory(tmp_path / "bare")
    run.update_sweep(lambda existing: {"sweep": "attack", "schema_version": SCHEMA_VERSION})
    run.commit("shard", rows_table([], attack_results()), None)
    assert "The committed shards of bare hold no rows, so there is nothing to show." in words(
        section_page(tmp_path / "bare")
    )


def test_hostile_names_stay_text_and_reach_no_path(
    make_attack_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_attack_run(
        num_classes=4,
        num_images=8,
        saved=range(8),
        checkpoints=HOSTILE[:3],
        methods=HOSTILE[1:2],
        name=lambda index: HOSTILE[index],
    )
    found = section_page(run)
    assert "script" not in [tag for tag, _ in found.elements]
    assert not [held for _, held in found.elements if any(name.startswith("on") for name in held)]
    assert "{{ 7 * 7 }}" in found.text
    folder = found.path.parent
    written = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert [path for path in written if not re.fullmatch(r"[a-z0-9/.-]+", path) or ".." in path] == []


def test_every_link_leads_to_a_file_of_the_report(
    make_attack_run: MakeRun, report: Report, page: ReadPage
) -> None:
    folder = report(
        make_attack_run(methods=("fgsm", "minimum_fgsm"), num_images=50, num_classes=50, saved=range(50))
    )
    for path in folder.rglob("*.html"):
        found = page(path)
        anchors = {held["id"] for _, held in found.elements if held.get("id")}
        for link in found.links():
            parts = urlsplit(link)
            if parts.path:
                assert (path.parent / unquote(parts.path)).is_file(), f"{path.name}: {link}"
            else:
                assert parts.fragment in anchors, link
    listed = {link for path in folder.rglob("*.html") for link in page(path).links()}
    left = {
        str(path.relative_to(folder)) for path in (folder / "run-0").rglob("*") if path.is_file()
    } - listed
    assert left == set(), "files that no page leads to"


def test_rows_are_never_all_in_memory_and_the_section_is_the_same(
    make_attack_run: MakeRun, section_page: SectionPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_attack_run(
        methods=("fgsm", "minimum_fgsm", "gradient_alone"),
        num_images=12,
        saved=range(0, 12, 2),
        predicted=fooled_beyond(1.5),
        shard_size=6,
    )

    def refuse(*arguments: object) -> None:
        raise AssertionError("all rows were asked for at once")

    whole = section_page(run, "whole").path.read_text()
    monkeypatch.setattr(result_files, "_PORTION_ROWS", 15)
    monkeypatch.setattr(result_files, "_NUM_RESULT_READERS", 1)
    monkeypatch.setattr(result_files, "read_results", refuse)
    assert section_page(run, "portions").path.read_text() == whole
