"""Vendors: one codec a file, bytes to records and back. A codec never connects, sleeps or retries."""
