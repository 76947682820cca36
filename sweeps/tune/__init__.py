"""The search for recipes: the space, the trials that Ray Tune starts and stops, and the ranking."""
