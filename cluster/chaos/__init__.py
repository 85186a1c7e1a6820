"""Chaos: a day replayed while processes die, owners freeze and stores fail, and an independent look at what is left."""
