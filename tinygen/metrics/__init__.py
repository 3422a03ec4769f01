"""Metrics: of samples in the features of a judge network, memorisation, mode counts, likelihoods.

A judge is a classifier that is trained here and never used to train a model. Import the submodule that is needed.
"""
