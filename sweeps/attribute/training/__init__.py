"""Attribution along training: tapes recorded by Ray Tune, segments played by the pool, and the panel's rows."""
