"""A small web server on this machine alone: all rows of some runs, filtered by DuckDB, and each image's own page.

`rows` holds the rows of a run in a table and `counts` how many there are of each kind, `view` is what a page's
address asks for, `summary`, `histogram` and `order` answer it, `pictures` reads stored images and maps, `pages`
puts a page together, `downloads` a file, `server` speaks HTTP.
"""
