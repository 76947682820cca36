"""What a generation sweep does in its actors."""
