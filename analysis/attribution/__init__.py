"""What a model looks at: attributions, their agreement and their scores."""
