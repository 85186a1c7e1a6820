"""The race card: each benchmark runs a peer and us on the same data in one process tree and prints the ratio."""
