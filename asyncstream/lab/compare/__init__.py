"""The comparison: every variant does the same work, in a fresh process, against the same servers."""
