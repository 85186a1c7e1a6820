"""Values and rules. Opens nothing: no socket, file, clock, environment, Ray."""
