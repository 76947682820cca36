"""The command line of the viewer: what it refuses in one line, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import analysis.serve
from analysis.command_line import exit_status
from analysis.report.__main__ import main
from analysis.serve.view import OPTIONS
from sweeps import schemas

ROOT = Path(__file__).parents[3]

MakeRun = Callable[..., Path]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert exit_status(lambda: main(words)) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_a_port_that_is_taken_is_named_with_another(
    make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(capsys, str(make_attack_run()), "--serve", "--port", str(port))
    assert line.startswith(
        f"error: port {port} of 127.0.0.1 cannot be used (Address already in use): choose another"
    )


def test_mistakes_are_one_line(
    make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = str(make_attack_run())
    for words, message in [
        ((run, "--serve", "--port", "70000"), "port is 70000: give a number from 1 to 65535"),
        ((str(tmp_path / "nothing"), "--serve"), "is not a run directory"),
        ((run, "--serve", "--natural", run), "natural is "),
        ((run, "--output", str(tmp_path / "out"), "--port", "1"), "port is 1: it belongs to --serve"),
    ]:
        assert message in refused(capsys, *words)
    for words in ((run,), (run, "--serve", "--output", "out"), (run, "--serve", "--port", "x")):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        capsys.readouterr()


def test_without_duckdb_the_extra_is_named(
    make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is imported anew takes the place of the package's attribute, too.
    monkeypatch.setattr(analysis, "serve", analysis.serve)
    for name in [name for name in sys.modules if name.startswith("analysis.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    line = refused(capsys, str(make_attack_run()), "--serve")
    assert line == "error: report --serve needs duckdb: pip install 'attrib-sweeps[viewer]'"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_nothing_is_left(
    make_attack_run: MakeRun, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "analysis.report", str(make_attack_run()), "--serve", "--port", "0"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in a shell's background ignores Ctrl-C, and so would what it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
            with urllib.request.urlopen(f"{url}run/0") as response:
                assert response.status == 200
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
        finally:
            # What failed above would otherwise be waited for without end.
            process.kill()
    assert process.returncode == status
    assert "Traceback" not in errors
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_folder_for_the_database_that_cannot_be_written_is_one_line(
    make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*arguments: object, **options: object) -> str:
        raise PermissionError(13, "Permission denied", "/nowhere")

    monkeypatch.setattr(tempfile, "mkdtemp", refusing)
    assert "Permission denied: '/nowhere'" in refused(
        capsys, str(make_attack_run()), "--serve", "--port", "0"
    )


def test_no_column_is_called_like_a_field_of_the_address() -> None:
    shape = (1, 2, 2)
    tables = (
        schemas.activations_results(),
        schemas.attack_results(["a"]),
        schemas.attribute_results(shape),
        schemas.training_results(shape),
        schemas.generate_results(["a"]),
        schemas.modify_results(),
        schemas.unit_results(),
    )
    assert not {name for table in tables for name in table.names} & set(OPTIONS)


def test_the_viewer_loads_neither_torch_nor_ray() -> None:
    code = "import sys, analysis.serve.server; print(sorted({'torch', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
