"""Metrics of samples, in the features of a judge network; metrics of memorisation, modes and likelihoods.

A judge is a classifier that is trained here and never used to train a model. Import the submodule that is needed.
"""
