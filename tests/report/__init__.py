"""The lab's reports: figures, verdict, table, Markdown, page."""
