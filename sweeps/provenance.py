"""Where results came from: versions, the commit of the code, the command."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sweeps.versions import versions


def provenance() -> dict[str, Any]:
    """Return the entry of this invocation in sweep.json."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "git_commit": _git_commit(),
        # Of the driver, which computes no rows: it may have other GPUs than its workers, or none.
        "cuda": torch.version.cuda,
        "gpus": torch.cuda.device_count(),
    }


def _git_commit() -> str | None:
    """Return the checkout's commit, with `+changes` when it differs; None outside a checkout."""
    file = Path(__file__).resolve()
    root = file.parents[1]
    try:
        # Installed code may lie inside somebody else's checkout, whose commit says nothing of it.
        _git(root, "ls-files", "--error-unmatch", str(file))
        commit = _git(root, "rev-parse", "HEAD")
        return commit + "+changes" * bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
