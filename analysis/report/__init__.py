"""A static report of run directories: pages that open from a folder or a bucket, without a server."""
