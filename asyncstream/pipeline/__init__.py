"""How files move: jobs become tasks, tasks move ranges into parts, and every file ends with a result."""
