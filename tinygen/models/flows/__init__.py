"""Normalising flows: densities by the change of variables, with exact inverses."""
