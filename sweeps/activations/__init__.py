"""What the search for the strongest images of units and classes does in its actors."""
