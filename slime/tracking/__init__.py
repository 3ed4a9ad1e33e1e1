"""A run's records, where they are written, and what a person sees meanwhile."""
