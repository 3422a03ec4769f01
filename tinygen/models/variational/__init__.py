"""Latent-variable models trained on a bound of the likelihood, and what they share."""
