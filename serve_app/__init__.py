"""Ray Serve shells that answer."""
