"""`make hunt`: transfers through a proxy that plays random faults, and a judge of their results."""

import sys
from pathlib import Path

# Lets `servers` be imported, as pytest does.
sys.path.insert(0, str(Path(__file__).parents[1]))
