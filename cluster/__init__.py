"""Everything that touches Ray: connecting to a cluster and the pool of actors."""
