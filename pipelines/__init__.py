"""Ray Data shells over tables."""
