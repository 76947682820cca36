"""A small web server on this machine alone: all rows of some runs, filtered by DuckDB, and each image's own page.

`rows` holds the rows of a run in a table, `view` is what a page's address asks for, `summary` and `histogram`
answer from it, `pictures` reads stored images and maps, `pages` puts a page together, `server` speaks HTTP.
"""
