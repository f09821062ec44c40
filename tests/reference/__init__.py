"""Slow twins: the same results by the shortest way that can be read against the standard."""
