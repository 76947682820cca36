"""What an adversarial sweep does in its actors."""
