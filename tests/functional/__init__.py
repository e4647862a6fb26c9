"""Processes, real memory groups, chains, the command line."""
