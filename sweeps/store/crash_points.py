"""Named instants of a commit at which a test may have the process die.

With `ATTRIB_SWEEPS_CRASH_AT=NAME` in its environment a process that reaches NAME sends itself SIGKILL:
nothing is flushed, no handler runs, as when a spot instance vanishes. The names, in the order of a commit:

    after_images    the image file is in images/, no row names it yet
    before_commit   the rows are encoded, nothing of them is written
    staged          the rows are in _staging/ under a temporary name (local disks alone)
    after_commit    the results file is visible, the caller does not know it yet
"""

import os
import signal

VARIABLE = "ATTRIB_SWEEPS_CRASH_AT"
CRASH_POINTS = ("after_images", "before_commit", "staged", "after_commit")


def crash_point(name: str) -> None:
    """Ends this process by SIGKILL if the environment names this point."""
    assert name in CRASH_POINTS, name
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
