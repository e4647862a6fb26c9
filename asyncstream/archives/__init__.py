"""Archives as sources: the directory at a ZIP's end tells where every entry is, and what it becomes."""
