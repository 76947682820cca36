"""The run directory on a local disk, S3, GCS or Azure, and its maintenance.

    RUN/sweep.json                  configuration, growth history, provenance
    RUN/results/<shard_id>.parquet  rows; the file is the commit
    RUN/images/<shard_id>-<attempt>-<token>.parquet
    RUN/failures/<shard_id>.json    quarantined shards
    RUN/progress.json, RUN/_SUCCESS
    RUN/_staging/, RUN/_lock        a local disk's writes under way, and its drivers' lock

An attempt writes its images first, then its results by put-if-absent: the first writer wins, a loser deletes
its images. So results/ holds whole shards only, each once, at every moment.
"""

from sweeps.store.crash_points import CRASH_POINTS
from sweeps.store.run_directory import RunDirectory
from sweeps.store.tables import columns_table, rows_table

__all__ = ["CRASH_POINTS", "RunDirectory", "columns_table", "rows_table"]
