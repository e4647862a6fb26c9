"""The suite for pages: every engine and the odd things that servers of the web do."""
