"""The parts of `on_gpu.py`, one a file: `run(bench)` returns its pieces, each an iterator of results."""
