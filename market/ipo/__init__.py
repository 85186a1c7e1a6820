"""The IPO desk: issues, what sources say of them, what of it is believed, and what came of it."""
