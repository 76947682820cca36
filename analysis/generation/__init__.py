"""What a model thinks a class looks like: generated and modified images, judges, strips, recipe searches."""
