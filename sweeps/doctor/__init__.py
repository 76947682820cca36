"""What this machine can do for a sweep: `attrib-sweeps doctor`, or `python -m sweeps.doctor`."""
