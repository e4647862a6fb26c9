"""Reports of measurements: prices, rows, tables, JSON. Independent of the lab and of the session."""
