"""Files of this machine as ends of a transfer: read in ranges, written beside their place, then renamed."""
