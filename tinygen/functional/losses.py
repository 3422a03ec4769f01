"""Losses that are composites: elementwise, in nats where they are likelihoods, never broadcasting."""

from tinygen.ops.arithmetic import abs, log, maximum
from tinygen.ops.losses import check_same_shapes, check_unit_range


def absolute_error(prediction, target):
    """|prediction - target|"""
    check_same_shapes("absolute_error", prediction, target)
    return abs(prediction - target)


def binary_cross_entropy(probability, target):
    """-t log p - (1 - t) log(1 - p), logarithms at least -83; `binary_cross_entropy_with_logits` has no such limit."""
    check_same_shapes("binary_cross_entropy", probability, target)
    check_unit_range("binary_cross_entropy", "probabilities", probability)
    check_unit_range("binary_cross_entropy", "targets", target)
    tiny = 1e-36  # its reciprocal, which is a gradient, is finite in float32
    return -(target * log(maximum(probability, tiny)) + (1 - target) * log(maximum(1 - probability, tiny)))
