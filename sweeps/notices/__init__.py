"""What a sweep tells trackers while it runs: configuration, progress and rates. `--notify` names them.

`registry.py` has the trackers by name, one file each; `driver.py` is the sweep's side, `process.py` the other. A
tracker's library may ask on a terminal, wait for a server for minutes, block an exit, or fail. So it lives in a
process beside the sweep, which writes to that process through a pipe and never waits for it.
"""
