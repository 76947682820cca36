"""A training that makes weights: from its data to the file and its checkpoints."""
