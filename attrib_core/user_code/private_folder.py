"""The folder from which this process imports its user's code, and those that killed processes have left.

Workers are killed, not asked to end, so nothing of theirs removes what they wrote. Each process locks its folder,
and a lock ends with its process, whichever way that ends. So what nobody has locked is nobody's.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

# Versions without locks call theirs attrib-sweeps-code-: one of them may still be at work in its folder.
PREFIX = "attrib-sweeps-user-code-"
# A folder is made before it is locked: younger ones may be about to be.
SECONDS_TO_LOCK = 60.0


@cache
def private_folder() -> Path:
    """Return the folder of this process, which is removed at its end."""
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    _locked(folder)  # until the process ends; where there are no locks, no folder is ever nobody's
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def remove_abandoned() -> None:
    """Remove the folders of this account's processes that are no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < SECONDS_TO_LOCK:
                continue
            lock = _locked(folder)
        except OSError:  # another process has just removed it
            continue
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """Return the open file that holds the lock of a folder, None where it cannot be had."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened
