"""Reads cluster.yaml, starts everything, watches it, stops it; the command line. Alone knows everyone."""
