"""What static attribution does in its actors, and what all attributions share."""
