"""Tables and figures from committed results, with pandas and matplotlib alone.

A folder answers one question: `attacks`, `attribution`, `generation`, `modification`, `training`, `units`. In it a
view is a module with a table function, `figure` (PNG) and `html` (report) of the same table, and `section.py` puts
the views together for the report. `training` imports `attribution`, whose maps it follows from step to step, and
`generation` imports `units`, whose natural images it shows; no other question imports another.

`blind` asks a person: it shows the images of `generation` without labels and scores what they are taken for.

`run.py` is an opened run, which is passed around; `sweep_kinds.py` names the section and the rows of each kind
of sweep. `html` and `drawing` know no question. `claims` measures statements with the tables of the questions;
`report` puts sections and claims together; `serve` shows all rows of runs on this machine, which needs the extra
`viewer`. Nothing imports `report`, and only `report` imports `claims` and `serve`.
"""
