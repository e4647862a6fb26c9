"""Transfers through a proxy that plays random faults, and a judge of how they end: `make hunt`."""

import sys
from pathlib import Path

# The tests' servers are found as pytest finds them.
sys.path.insert(0, str(Path(__file__).parents[1]))
