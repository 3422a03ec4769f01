"""Undirected models: an energy gives probabilities up to a constant, which is summed exactly or estimated."""
