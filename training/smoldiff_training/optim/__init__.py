"""Optimisers and learning rates, for the base and the head alike."""
