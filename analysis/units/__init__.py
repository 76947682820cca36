"""What a unit looks like: synthetic pictures by layer, beside the natural images that activate it most."""
