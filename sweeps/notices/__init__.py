"""What a sweep tells trackers while it runs: configuration, progress and rates. `--notify` names them.

`registry.py` has the trackers by name, one file each; `driver.py` is the sweep's side, `process.py` the other. A
tracker's library may ask on a terminal, wait for a server for minutes, block the exit of its process, or fail. So it
lives in another process, on a thread of its own, and the sweep writes to that process through a pipe for which it
never waits.
"""
