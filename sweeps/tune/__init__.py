"""A search over recipes by Ray Tune, and Tune without its noise."""
