"""Ray shells that hold state or a line. They decide nothing: deciding happens in `market`."""
