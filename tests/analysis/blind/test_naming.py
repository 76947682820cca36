"""Sheets give nothing away, the key says all, and guesses are scored however they were written."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.blind.__main__ import main
from analysis.blind.key import write_key
from analysis.blind.pictures import Choice, numbered_pictures, parse_classes
from analysis.run import open_run

MakeRun = Callable[..., Path]
Naming = tuple[Path, Path]

NAMES = ["flamingo", "zebra", "acoustic guitar", "T-shirt/top"]


@pytest.fixture
def naming(make_run: MakeRun, tmp_path: Path) -> Naming:
    """The folder of the sheets of eight pictures, and the key."""
    run = make_run(num_classes=4, seeds=(0,), name=lambda index: NAMES[index], shard_size=99)
    main([str(run), "--output", str(tmp_path / "sheets"), "--per-sheet", "3", "--image-size", "64"])
    return tmp_path / "sheets", tmp_path / "sheets-key.csv"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The key of eight pictures, without sheets."""
    cells = [(recipe, index) for index in range(4) for recipe in ("default", "plain")]
    rows = [
        {"number": number, "class_index": index, "wnid": f"n{index:08d}", "class_name": NAMES[index]}
        | {"model": "lite0", "recipe": recipe, "seed": 0, "run": "run", "image_key": str(number)}
        for number, (recipe, index) in enumerate(cells, start=1)
    ]
    write_key(pd.DataFrame(rows), tmp_path / "key.csv")
    return tmp_path / "key.csv"


def score(tmp_path: Path, key: Path, text: str | bytes, *options: str) -> pd.DataFrame:
    """Scores the content of a file of guesses and returns the row of each picture by number."""
    guesses, output = tmp_path / "guesses.csv", tmp_path / "pictures.csv"
    guesses.write_bytes(text.encode() if isinstance(text, str) else text)
    main(["score", str(guesses), "--key", str(key), "--output", str(output), *options])
    return pd.read_csv(output, keep_default_na=False, dtype=str).set_index("number")


def test_the_folder_of_the_sheets_gives_nothing_away(naming: Naming) -> None:
    folder, key = naming
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["guesses.csv", "instructions.txt", "sheet-1.png", "sheet-2.png", "sheet-3.png"]
    assert key.parent == folder.parent
    secrets = [*NAMES, "n0000000", "plain", "default", "lite", "class 1", "shirt", "guitar", "run"]
    for path in folder.iterdir():
        content = path.read_bytes().lower()
        assert not [secret for secret in secrets if secret.lower().encode() in content], path.name


def test_sheets_hold_pixels_and_no_text(naming: Naming) -> None:
    for path in naming[0].glob("*.png"):
        with Image.open(path) as image:
            assert image.info == {}
        chunks = re.findall(rb"(?:tEXt|iTXt|zTXt|tIME|eXIf)", path.read_bytes())
        assert chunks == []


def test_every_picture_stands_under_its_number(naming: Naming, make_run: MakeRun) -> None:
    folder, key = naming
    pictures = pd.read_csv(key)
    assert list(pictures["number"]) == list(range(1, 9))
    run = open_run(pictures["run"][0])
    (expected,) = run.images(pictures["image_key"][4:5])
    with Image.open(folder / "sheet-2.png") as sheet:
        pixels = np.asarray(sheet)
    # Number 5 is the second of the second sheet, two across: 64 pixels, a gap of 4, a line of 27 for the number.
    shown = pixels[4 + 27 : 4 + 27 + 64, 4 + 68 : 4 + 68 + 64]
    assert np.abs(shown[::2, ::2].astype(int) - expected).mean() < 8


def test_grey_and_oblong_images_are_shown(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("grey", channels=1, size=28, recipes=("default",))
    main([str(run), "--output", str(tmp_path / "grey-sheets"), "--image-size", "224"])
    with Image.open(tmp_path / "grey-sheets" / "sheet-1.png") as image:
        assert image.width == 4 * (224 + 14) + 14


def test_the_order_follows_the_seed_and_the_run_not_the_class(make_run: MakeRun) -> None:
    fields = {"num_classes": 12, "seeds": (0,), "size": 8, "shard_size": 99}
    run, other = open_run(make_run("one", **fields)), open_run(make_run("two", recipes=("x", "y"), **fields))
    first = numbered_pictures(run, Choice(sample=8))
    assert first.equals(numbered_pictures(run, Choice(sample=8)))
    classes = list(first["class_index"])
    assert sorted(classes) != classes
    again = numbered_pictures(run, Choice(sample=8, seed=1))
    assert list(again["class_index"]) != classes
    # Another run of the same classes: the same classes, in another order.
    second = list(numbered_pictures(other, Choice(sample=8))["class_index"])
    assert sorted(second) == sorted(classes)
    assert second != classes


def test_a_sample_has_each_class_once_and_as_many_of_each_recipe(make_run: MakeRun) -> None:
    run = open_run(make_run(num_classes=10, seeds=(0, 1), size=8, shard_size=99))
    pictures = numbered_pictures(run, Choice(sample=10))
    assert pictures["class_index"].is_unique
    assert pictures["recipe"].value_counts().to_dict() == {"plain": 5, "default": 5}
    both = numbered_pictures(run, Choice(sample=20))
    assert both.groupby(["class_index", "recipe"]).size().eq(1).all()
    assert len(numbered_pictures(run, Choice(sample=1000))) == 40


def test_classes_and_recipes_are_chosen(make_run: MakeRun) -> None:
    run = open_run(make_run(num_classes=6, size=8))
    chosen = numbered_pictures(run, Choice(classes=parse_classes("0-1,4"), recipes=["plain"]))
    assert (set(chosen["class_index"]), set(chosen["recipe"]), len(chosen)) == ({0, 1, 4}, {"plain"}, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", "9"], "class_index is 9: choose from 0, 1, 2"),
        (["--classes", "3-1"], "classes has '3-1'"),
        (["--recipes", "octaves"], "recipe is 'octaves'"),
        (["--sample", "0"], "sample is 0"),
        (["--seed", "-1"], "seed is -1"),
        (["--per-sheet", "0"], "per-sheet is 0"),
        (["--image-size", "8"], "image-size is 8"),
        (["--key", "OUT/key.csv"], "in the folder of the sheets"),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(
    make_run: MakeRun, tmp_path: Path, options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    options = [option.replace("OUT", str(out)) for option in options]
    with pytest.raises(ValueError, match=message):
        main([str(make_run()), "--output", str(out), *options])
    assert not out.exists()


def test_guesses_and_keys_are_not_overwritten(naming: Naming, tmp_path: Path) -> None:
    folder, key = naming
    with pytest.raises(ValueError, match="give a new folder"):
        main([str(tmp_path / "run"), "--output", str(folder)])
    with pytest.raises(ValueError, match="give a new file"):
        main([str(tmp_path / "run"), "--output", str(tmp_path / "other"), "--key", str(key)])


def test_another_sweep_is_refused(make_attack_run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sweep of kind 'attack'"):
        main([str(make_attack_run()), "--output", str(tmp_path / "out")])


def lines_for(key: Path, guess: Callable[[str], str], separator: str = ",") -> str:
    """A file of guesses that has for each picture what `guess` makes of its class's name."""
    rows = [f"{row.number}{separator}{guess(row.class_name)}" for row in pd.read_csv(key).itertuples()]
    return "\n".join([separator.join(("number", "guess", "second")), *rows])


def test_scores_count_first_and_second_guesses_by_recipe(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = {"flamingo": "the Flamingos,", "zebra": "horse,zebra", "T-shirt/top": "?,"}
    text = lines_for(key, lambda name: written.get(name, "guitar,violin"))
    capsys.readouterr()
    pictures = score(tmp_path, key, text)
    by_name = pictures[pictures["recipe"] == "plain"].set_index("class_name")
    assert by_name["verdict"].to_dict() == {
        "flamingo": "right",
        "zebra": "wrong",
        "acoustic guitar": "wrong",
        "T-shirt/top": "none",
    }
    assert by_name["second_verdict"]["zebra"] == "right"
    assert by_name["note"]["acoustic guitar"] == "guitar: a part of acoustic guitar"
    printed = capsys.readouterr().out
    # Wilson for 2 of 8 and 4 of 8, by hand.
    assert re.search(r"all recipes +right at first +2 +8 +0\.250 +0\.071 +0\.591", printed)
    assert re.search(r"all recipes +right with the second +4 +8 +0\.500 +0\.215 +0\.785", printed)
    assert re.search(r"plain +right at first +1 +4 +0\.250 +0\.046 +0\.699", printed)
    assert "without a guess, which count as not named: 2 of 8" in printed


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: ("\ufeff" + text.replace(",", ";").replace("\n", "\r\n")).encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: text.replace("number", " Number ").replace("second", "Second guess").encode(),
        lambda text: (text.replace("number", "\n\nnumber") + "\n,,\n\n").encode(),
        lambda text: re.sub(r"(?m)^(\d)", r"#\1.0", text).encode("cp1252"),
        lambda text: text.replace("second", "certainty,second").replace("zebra,", 'zebra,"90",').encode(),
    ],
)
def test_what_spreadsheets_and_people_write_is_read(
    key: Path, tmp_path: Path, encode: Callable[[str], bytes]
) -> None:
    text = lines_for(key, lambda name: f"{name},")
    pictures = score(tmp_path, key, encode(text))
    assert set(pictures["verdict"]) == {"right"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number,second\n1,x", "has 0 columns 'guess', its first line is number, second"),
        ("guess\nzebra", "has 0 columns 'number'"),
        ("number,guess,guess\n1,x,y", "has 2 columns 'guess'"),
        ("", "is empty: its first line names the columns number, guess"),
        ("number,guess\n1,\n2,", "has no guess"),
        ("number,guess\n1,x\n\n1,y", "number 1 stands in lines 2 and 4: keep one"),
        ("number,guess\n9,x", "line 2 has the number '9'; accepted: 1 to 8"),
        ("number,guess\none,x", "line 2 has the number 'one'"),
        ("number,guess\n,x", "line 2 has the number ''"),
        ("number,guess\n1,crane, bird", "line 2 has 3 cells, the header 2"),
        ('number,guess\n1,"crane\n2,bird', "a double quote stays open"),
        ("PK\x03\x04", "is a workbook of a spreadsheet: save it as CSV"),
    ],
)
def test_a_mistake_in_the_guesses_is_named(key: Path, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        score(tmp_path, key, text)


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no column 'class_index'"):
        score(tmp_path, tmp_path / "guesses.csv", "number,guess\n1,x")


def test_what_is_reviewed_is_accepted(key: Path, tmp_path: Path) -> None:
    text = lines_for(key, lambda name: "flamigo,bird" if name == "flamingo" else "guitar,")
    listed = tmp_path / "review.csv"
    pictures = score(tmp_path, key, text, "--review", str(listed))
    assert "right" not in set(pictures["verdict"])
    rows = pd.read_csv(listed, keep_default_na=False, dtype=str)
    # A guess of several pictures of a class is listed once; nothing is decided yet.
    assert list(rows["accepted"]).count("flamigo") == 1
    assert set(rows["counts_as"]) == {""}
    rows.loc[rows["accepted"] == "flamigo", "counts_as"] = "right"
    rows.loc[rows["accepted"] == "bird", "counts_as"] = "kind"
    rows.to_csv(listed, index=False)
    again = score(tmp_path, key, text, "--accept", str(listed))
    of_flamingo = again[again["class_name"] == "flamingo"]
    assert set(of_flamingo["verdict"]) == {"right"}
    assert set(of_flamingo["second_verdict"]) == {"kind"}
    assert set(again["verdict"]) == {"right", "wrong"}


def test_accepted_words_stand_alone_by_class_index(key: Path, tmp_path: Path) -> None:
    accepted = tmp_path / "accept.csv"
    accepted.write_text("class_index;accepted\n2;guitar\n999;anything\n", encoding="utf-8")
    text = lines_for(key, lambda name: "Guitars,")
    pictures = score(tmp_path, key, text, "--accept", str(accepted))
    assert set(pictures.loc[pictures["verdict"] == "right", "class_name"]) == {"acoustic guitar"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wnid,word\nn1,x", "has 0 columns 'accepted'"),
        ("accepted\nx", "line 2 has no class"),
        ("class_index,accepted,counts_as\n0,x,perhaps", "counts_as 'perhaps'; accepted: right, kind, wrong"),
    ],
)
def test_a_mistake_in_accepted_words_is_named(key: Path, tmp_path: Path, text: str, message: str) -> None:
    accepted = tmp_path / "accept.csv"
    accepted.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        score(tmp_path, key, "number,guess\n1,x", "--accept", str(accepted))


def test_classes_without_names_are_told(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(make_run(name=str)), "--output", str(tmp_path / "sheets"), "--image-size", "64"])
    score(tmp_path, tmp_path / "sheets-key.csv", "number,guess\n1,x")
    assert "have no names: give them by --accept" in capsys.readouterr().out
