"""The wheel, installed where modules of the user's have the names of our four folders."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("attrib_core", "sweeps", "cluster", "analysis")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    hatchling = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(hatchling, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_has_one_package_and_no_mention_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"attrib_sweeps"}
        sources = [name for name in names if name.endswith((".py", ".html"))]
        for name in sources:
            text = archive.read(name).decode()
            for folder in FOLDERS:
                assert f"from {folder}." not in text, name
                assert f"import {folder}." not in text, name
            assert "python -m analysis." not in text, name
            assert "python -m sweeps." not in text, name


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose modules have our folders' names."""
    folder = tmp_path_factory.mktemp("empty")
    for name in FOLDERS:
        (folder / f"{name}.py").write_text("raise SystemExit('a module of the user was imported')\n")
    return folder


@pytest.fixture(scope="module")
def run(site: Path, folder: Path) -> Run:
    """Runs `attrib-sweeps` from the wheel, in the folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(site)}
        command = [sys.executable, "-m", "attrib_sweeps", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.long
def test_a_sweep_and_its_analysis_run_from_the_wheel(run: Run, folder: Path) -> None:
    sweep = [
        "attack",
        "--images",
        "0-39",
        "--shard-size",
        "20",
        "--methods",
        "fgsm",
        "--output",
        "runs/attack",
    ]
    done = run(*sweep, "--num-workers", "1")
    assert done.returncode == 0, done.stderr
    for command in (
        ["success-rates", "runs/attack", "--by", "method,epsilon", "--output", "rates.csv"],
        ["curves", "runs/attack", "--output", "figures"],
        ["report", "runs/attack", "--output", "report"],
        ["claims", "runs/attack", "--output", "claims"],
        ["store", "verify", "runs/attack"],
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert "python sweeps" not in done.stdout + done.stderr
        assert "python -m" not in done.stdout + done.stderr
    claims = [file.read_text(encoding="utf-8") for file in (folder / "claims").iterdir()]
    assert any("attrib-sweeps attack --output runs/reproduce" in text for text in claims)
    assert not any("python sweeps" in text or "python -m" in text for text in claims)


def test_what_the_documentation_imports_is_there(site: Path, tmp_path: Path) -> None:
    pages = [ROOT / "README.md", ROOT / "analysis" / "README.md", *ROOT.glob("docs/**/*.md")]
    lines = {
        line for page in pages for line in re.findall(r"^ *from attrib_sweeps.*", page.read_text(), re.M)
    }
    assert len(lines) > 20
    (tmp_path / "every.py").write_text("\n".join(line.strip() for line in lines))
    subprocess.run(
        [sys.executable, "every.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, check=True
    )


def test_help_and_mistakes_name_the_console_command(run: Run) -> None:
    assert "usage: attrib-sweeps curves" in run("curves", "--help").stdout
    refused = run("attack", "--methods", "fgms")
    assert refused.returncode == 2
    assert "fgms" in refused.stderr
    assert "Traceback" not in refused.stderr
