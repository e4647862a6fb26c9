"""ZIP archives in the four functions that copy."""
