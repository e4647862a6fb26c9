"""What invoked a handler and the reply it expects: `triggers.py` tells which file knows it."""
