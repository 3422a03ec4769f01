"""Losses that have a kernel of their own."""

from tinygen.ops.arithmetic import softplus
from tinygen.primitive import fused


@fused(wrt="logits")
def binary_cross_entropy_with_logits(logits, target):
    """-t log s(x) - (1 - t) log(1 - s(x)) in nats, elementwise; s is the logistic function, targets are in [0, 1]."""
    return softplus(logits) - logits * target
