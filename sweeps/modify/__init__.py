"""What the modification of images does in its actors."""
