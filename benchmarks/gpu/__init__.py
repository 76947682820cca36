"""The parts of `on_gpu.py`, one a file: a function `run(bench)` that yields results."""
