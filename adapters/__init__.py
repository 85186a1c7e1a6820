"""What is opened, once for everybody: Redis, Delta Lake, sockets, HTTP, clocks. No Ray."""
