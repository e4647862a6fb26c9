"""`make hunt`: transfers through a proxy that plays random faults, and a judge of their results."""
