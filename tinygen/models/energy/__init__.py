"""Undirected models: probabilities by an energy, up to a constant that is estimated or summed out."""
