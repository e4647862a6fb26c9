"""Archives as sources: the directory at the end of a ZIP has the position, sizes and CRC32 of each entry."""
