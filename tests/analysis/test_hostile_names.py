"""Figures and tables of a run directory whose names and images are made to do harm: whole commands."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis import load
from analysis.attacks import confusion, minimum_epsilon, success_rates, triptychs
from analysis.attacks import curves as attack_curves
from analysis.generation import contact_sheets, judge_accuracy, recipe_strips

MakeRun = Callable[..., Path]

NAMES = ("$\\frac{", "<script>alert(1)</script>", "../../escaped", "$(touch HACKED)\x1b[2J")
PLAIN = re.compile(r"[A-Za-z0-9_.-]+")


@pytest.fixture
def drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """The names of the files that commands write: all in the folder that they are given, and plain."""

    def draw(run: Path, *commands) -> list[str]:
        before = set(tmp_path.rglob("*"))
        for command in commands:
            command.main([str(run), "--output", str(tmp_path / "figures")])
        written = set(tmp_path.rglob("*")) - before - {tmp_path / "figures"}
        assert {path.parent for path in written} == {tmp_path / "figures"}
        assert [path.name for path in written if not PLAIN.fullmatch(path.name)] == []
        assert "\x1b" not in capsys.readouterr().out
        return sorted(path.name for path in written if path.suffix == ".png")

    return draw


@pytest.mark.long
def test_figures_of_attacks(make_attack_run: MakeRun, drawn) -> None:
    run = make_attack_run(
        num_classes=4,
        name=lambda index: NAMES[index],
        checkpoints=NAMES[2:3],
        methods=("minimum_../../fgsm", "$\\frac{"),
        saved=(0,),
        epsilons=(0.0, 2 / 255),
    )
    pages = drawn(run, triptychs, confusion, attack_curves, minimum_epsilon)
    assert len(pages) == len(set(pages)) >= 5


def test_pages_of_generated_images(make_run: MakeRun, drawn) -> None:
    run = make_run(
        num_classes=4, seeds=(0,), recipes=NAMES[:3], judges=("../$\\frac{",), name=lambda index: NAMES[index]
    )
    assert len(drawn(run, contact_sheets, recipe_strips)) == 4


def test_tables_are_printed_without_control_characters(
    make_run: MakeRun, make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = make_attack_run(num_classes=4, name=lambda index: NAMES[index])
    generated = make_run(num_classes=4, name=lambda index: NAMES[index])
    for command, run, column in (
        (success_rates, attack, "label_name"),
        (judge_accuracy, generated, "class_name"),
    ):
        command.main([str(run), "--by", column])
        printed = capsys.readouterr().out
        assert "$(touch HACKED)\\x1b[2J" in printed
        assert "\x1b" not in printed


def encoded(image: Image.Image, kind: str) -> bytes:
    sink = BytesIO()
    image.save(sink, kind)
    return sink.getvalue()


def large_png() -> bytes:
    """A few hundred kilobytes that would be 400 million pixels."""
    return encoded(Image.new("1", (20_000, 20_000)), "PNG")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: encoded(Image.new("RGB", (8, 8)), "EPS"), id="for Ghostscript"),
        pytest.param(lambda: encoded(Image.new("RGB", (8, 8)), "BMP"), id="of another format"),
        pytest.param(large_png, id="a decompression bomb"),
        pytest.param(lambda: encoded(Image.new("RGB", (8, 8)), "PNG")[:40], id="cut off"),
        pytest.param(lambda: b"", id="empty"),
    ],
)
def test_a_stored_image_that_is_no_sound_png_is_refused(
    content: Callable[[], bytes], make_run: MakeRun
) -> None:
    run = make_run(num_classes=1, seeds=(0,), recipes=("plain",))
    [file] = (run / "images").iterdir()
    table = pq.read_table(file)
    images = pa.array([{"bytes": content(), "path": "x"}], type=table.schema.field("image").type)
    pq.write_table(table.set_column(table.schema.get_field_index("image"), "image", images), file)
    with pytest.raises(ValueError, match="image 'plain/0/0' cannot be decoded"):
        load.images(run, ["plain/0/0"])
