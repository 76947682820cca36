"""Images of units: what an actor does, which rows come of it, and the list of a network's layers."""
