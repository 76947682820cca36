"""The run directory on a local disk, S3, GCS or Azure, and its maintenance.

    RUN/sweep.json                  configuration, growth history, provenance
    RUN/results/<shard_id>.parquet  rows; the file is the commit
    RUN/victims/<shard_id>.parquet  rows of an attack's victims that were added later, committed alike
    RUN/images/<shard_id>-<attempt>-<token>.parquet
    RUN/failures/<shard_id>.json    quarantined shards
    RUN/failures/<shard_id>.images.json  images without rows in a committed shard: see `image_failures`
    RUN/image_digests.parquet       SHA-256 of each image of the data set
    RUN/progress.json, RUN/_SUCCESS
    RUN/_staging/, RUN/_lock        on a local disk: unfinished writes, and the drivers' lock

The commit rule: an attempt writes its images first, under a name of its own, and then its results file by
put-if-absent. The first writer wins; a loser deletes its images. So at every moment results/ holds only whole
shards, each of them once, and every image that a row names is there.
"""

from sweeps.store.crash_points import CRASH_POINTS
from sweeps.store.image_failures import ImageFailure
from sweeps.store.run_directory import RunDirectory
from sweeps.store.tables import columns_table, rows_table

__all__ = ["CRASH_POINTS", "ImageFailure", "RunDirectory", "columns_table", "rows_table"]
