"""Named points of a commit at which a test can kill the process.

With `ATTRIB_SWEEPS_CRASH_AT=NAME` in its environment, a process that reaches NAME sends itself SIGKILL. Nothing
is flushed and no handler runs, as when a spot instance vanishes. The points in the order of a commit, with what
is left behind there:

    after_images    an image file in images/ that no row names: garbage collection deletes it
    before_commit   the same; the rows were encoded, and nothing of them was written
    staged          also a file in _staging/ with the rows (on local disks only), which no reader looks at
    after_commit    a committed shard, of which the driver does not know: the next attempt loses, as it should
"""

import os
import signal

VARIABLE = "ATTRIB_SWEEPS_CRASH_AT"
CRASH_POINTS = ("after_images", "before_commit", "staged", "after_commit")


def crash_point(name: str) -> None:
    """Send this process SIGKILL if the environment names this point."""
    assert name in CRASH_POINTS, name
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
