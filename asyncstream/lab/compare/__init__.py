"""The local comparison: every way to copy the same files, each in a fresh process, against one S3."""
