"""Systems with latent variables, trained by a bound on the likelihood."""
