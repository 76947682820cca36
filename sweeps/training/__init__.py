"""Trainings: recorded as tapes, played by actors, followed by a panel; and one that only makes weights."""
