"""What was measured, made readable: prices, rows, tables, JSON. Knows neither the lab nor the session."""
