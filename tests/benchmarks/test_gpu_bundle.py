"""What a machine with a GPU gets of a wheel: its files where an installer puts them, without what is left out."""

import runpy
import zipfile
from pathlib import Path

import pytest

BUNDLE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "gpu_bundle.py"))


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("ray/core/raylet", "site/ray/core/raylet"),
        ("ray-2.60.0.dist-info/METADATA", "site/ray-2.60.0.dist-info/METADATA"),
        ("msgpack-1.0.data/platlib/msgpack/fast.so", "site/msgpack/fast.so"),
        ("ray-2.60.0.data/scripts/ray", None),
        ("ray/jars/ray_dist.jar", None),
        ("ray/rllib/algorithms/ppo.py", None),
    ],
)
def test_a_file_of_a_wheel(name: str, packed: str | None, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        info = zipfile.ZipInfo(name)
        info.external_attr = 0o755 << 16
        wheel.writestr(info, b"content")
    members = list(BUNDLE["of_wheel"](tmp_path / "a.whl"))
    assert members == ([] if packed is None else [(packed, b"content", True)])
