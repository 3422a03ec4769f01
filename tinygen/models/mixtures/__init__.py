"""Mixtures of simple distributions, fitted by expectation maximisation."""
