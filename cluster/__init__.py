"""All code that uses Ray: the connection to a cluster and the pool of actors."""
