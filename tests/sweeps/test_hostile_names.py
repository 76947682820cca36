"""Names from data sets stay names: no path is left, no shell runs them, no terminal obeys them."""

import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from analysis import video
from analysis.attacks import confusion, minimum_epsilon, success_rates, triptychs
from analysis.attribution import grids as attribution_grids
from analysis.training import recapitulation
from attrib_core.datasets import load_dataset
from sweeps.attack_all import main as attack
from sweeps.attribute_training import main as attribute_training
from sweeps.progress import Progress
from sweeps.store import RunDirectory
from sweeps.store.__main__ import main as maintain
from sweeps.store.local_files import LocalFiles
from sweeps.store.terminal_text import terminal_text

# As many as the classes of `fashion_deep`.
CLASSES = (
    *("<script>alert(1)<", "x..", "a;touch HACKED;rm -rf ~", "$(touch HACKED)", "`touch HACKED`"),
    *("quote'\"\\", "a$b$c", "$\\frac{", "n" * 250, "-rf"),
)
FILES = ("--help;$(touch HACKED).png", "é" * 120 + ".png")
PLAIN = re.compile(r"[A-Za-z0-9_.=-]+")


def write_images(folder: Path, class_names: tuple[str, ...], files: tuple[str, ...] = FILES) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (len(class_names), len(files), 28, 28), dtype=np.uint8)
    for class_name, row in zip(class_names, pixels, strict=True):
        (folder / class_name).mkdir(parents=True)
        for file, image in zip(files, row, strict=True):
            Image.fromarray(image).save(folder / class_name / file)
    return folder


@pytest.mark.long
def test_whole_commands_over_an_image_folder_with_hostile_names(
    local_cluster, in_this_process, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        write_images(tmp_path / "data" / split, CLASSES)
    before = tree(tmp_path)
    dataset = ["--dataset", f"imagefolder:{tmp_path}/data"]
    methods = ["--methods", "fgsm,minimum_fgsm", "--epsilons", "0,8/255"]
    assert (
        attack(["--output", "attack", *dataset, "--label-order", "sorted", *methods, "--save-images", "all"])
        == 0
    )
    training = ["--batch-size", "10", "--segment", "3", "--methods", "gradient_x_input,loss_gradient"]
    assert attribute_training(["--output", "training", *dataset, *training, "--panel", "0-19"]) == 0
    for command in (triptychs, confusion, minimum_epsilon):
        command.main(["attack", "--output", "figures"])
    success_rates.main(["attack", "--by", "label_name"])
    for command in (attribution_grids, recapitulation):
        command.main(["training", "--output", "figures"])
    video.main(["training", "--output", "figures/training.mp4", "--method", "gradient_x_input"])
    for run in ("attack", "training"):
        assert maintain(["verify", run]) == 0
        assert maintain(["export-webdataset", run, f"export-{run}"]) == 0
    written = tree(tmp_path) - before
    assert {path.parts[0] for path in written} == {
        "attack", "training", "figures", "export-attack", "export-training"
    }  # fmt: skip
    assert [path for path in written if not PLAIN.fullmatch(path.name)] == []
    assert [
        name for tar in tmp_path.glob("export-*/*.tar") for name in members(tar) if not PLAIN.fullmatch(name)
    ] == []


def tree(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def members(tar: Path) -> list[str]:
    with tarfile.open(tar) as archive:
        return archive.getnames()


def test_image_folders_keep_odd_names_as_they_are_and_leave_hidden_ones_out(tmp_path: Path) -> None:
    names = (*CLASSES, "con", "_hidden", "[red]", "~", "*")
    dataset = load_dataset(f"imagefolder:{write_images(tmp_path, (*names, '.hidden', '...'))}")
    assert dataset.class_names == tuple(sorted(names))
    assert {key.partition("/")[0] for key in dataset.keys} == set(names)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "\x1b[2J", "\u202egnp.exe", "\x7f"])
@pytest.mark.parametrize("part", ["class", "file"])
def test_image_folders_with_control_characters_in_names_are_refused(
    name: str, part: str, tmp_path: Path
) -> None:
    class_name, file = (name, "a.png") if part == "class" else ("a", f"{name}.png")
    write_images(tmp_path, (class_name,), (file,))
    with pytest.raises(ValueError, match="is not UTF-8, or has control characters") as refusal:
        load_dataset(f"imagefolder:{tmp_path}")
    assert name not in str(refusal.value)


def test_an_image_that_would_fill_the_memory_is_refused_unread(tmp_path: Path) -> None:
    folder = write_images(tmp_path, ("a",), ("a.png",))
    Image.new("1", (20_000, 20_000)).save(folder / "a" / "b.png")  # 50 kB
    with pytest.raises(ValueError, match=r"'a/b\.png': .* decompression bomb"):
        load_dataset(f"imagefolder:{folder}")


@pytest.mark.parametrize("path", ["images/../../other", "../other", "images/.."])
@pytest.mark.parametrize("action", ["read", "open", "exists", "delete", "put", "put_if_absent"])
def test_a_path_that_leaves_a_run_directory_is_refused(path: str, action: str, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "run/images").mkdir(parents=True)
    content = (b"",) if action.startswith("put") else ()
    with pytest.raises(ValueError, match=r"\.\."):
        getattr(LocalFiles(tmp_path / "run"), action)(path, *content)
    assert (tmp_path / "other").read_text() == "kept"


def test_an_absolute_path_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    with pytest.raises(ValueError, match="leaves"):
        LocalFiles(tmp_path / "run").delete(str(tmp_path / "other"))
    assert (tmp_path / "other").exists()


def test_a_row_that_names_an_image_file_elsewhere_is_a_problem(
    tmp_path: Path, commit_shard, make_images, make_rows, capsys
) -> None:
    run = RunDirectory(tmp_path / "run")
    run.update_sweep(lambda _sweep: {"sweep": "generate"})
    secret = run.put_images("plain-0", 1, make_images([0]))
    (tmp_path / "run/images" / secret).rename(tmp_path / "secret.parquet")
    rows = make_rows("plain-0", [0], image_file="plain-0-../../../secret.parquet")
    run.commit("plain-0", rows, "plain-0-../../../secret.parquet")
    assert maintain(["verify", run.url]) == 1
    assert "secret.parquet cannot be read" in capsys.readouterr().out
    assert maintain(["export-webdataset", run.url, str(tmp_path / "export")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\rb\x08\x7f\x9b", r"a\rb\x08\x7f\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        ("two\nlines\tand ä, 日本語, שלום", "two\nlines\tand ä, 日本語, שלום"),
    ],
)
def test_a_terminal_is_told_no_control_characters(text: str, printed: str) -> None:
    assert terminal_text(text) == printed


def test_what_a_sweep_says_is_printed_literally() -> None:
    progress = Progress("attack", 1, lambda _progress: None)
    progress.console = Console(file=io.StringIO(), force_terminal=True)
    progress.log("class [red]x[/red] [/] \x1b[31m :smile:")
    assert progress.console.file.getvalue() == "class [red]x[/red] [/] \\x1b[31m :smile:\n"
