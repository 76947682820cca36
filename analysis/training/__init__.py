"""How a model came to look there: attribution along training."""
