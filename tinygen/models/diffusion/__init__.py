"""Models that turn noise into examples step by step: diffusion models, and flow matching."""
