"""Layers that see an example beside others (Salimans et al. 2016, arXiv:1606.03498)."""

import numpy as np

from tinygen import functional as F
from tinygen.autograd import array_of
from tinygen.backend import device_of, to_device
from tinygen.errors import ShapeError
from tinygen.nn import init
from tinygen.nn.layers import _Norm
from tinygen.nn.module import Module, Parameter, check_positive


class MinibatchDiscrimination(Module):
    """Features (N, A), and beside them how close each example is to the others of its minibatch: (N, A + kernels).

    With M = x @ weight as (N, kernels, dimensions), measure b of example i is the sum over all other examples j of
    exp(-|M_ib - M_jb|), by the L1 norm (section 3.2). The example itself, whose term is always 1, is left out, as in
    the authors' code. So a result depends on the whole minibatch, in evaluation too.
    """

    def __init__(self, features: int, kernels: int, dimensions: int = 5):
        check_positive(self, features=features, kernels=kernels, dimensions=dimensions)
        self.kernels, self.dimensions = kernels, dimensions
        self.weight = Parameter(init.fan_in_uniform((features, kernels * dimensions)))

    def forward(self, x):
        n = x.shape[0]
        m = F.matmul(x, self.weight).reshape((n, self.kernels, self.dimensions))
        distances = F.abs(F.unsqueeze(m, 1) - F.unsqueeze(m, 0)).sum(axis=3)
        return F.concatenate([x, F.exp(-distances).sum(axis=1) - 1], axis=1)


class VirtualBatchNorm(_Norm):
    """Normalisation by the statistics of a reference batch and of the example itself (section 3.4).

    The first `references` rows of the input are the reference batch, see `WithReference`. Each channel of another row
    is normalised by the mean and variance of a batch of the reference rows and that row. The reference rows are
    normalised by their own statistics. So a result does not depend on the other examples of a minibatch, and is the
    same in training and in evaluation.
    """

    def __init__(self, features: int, references: int, eps: float = 1e-5, affine: bool = True):
        check_positive(self, references=references)
        super().__init__(features, eps, affine)
        self.references = references

    def forward(self, x):
        self._check(x)
        if x.shape[0] < self.references:
            raise ShapeError(f"VirtualBatchNorm: takes {self.references} reference rows and others, not {x.shape[0]}")
        share, positions = self._shares(x), tuple(range(1, x.ndim - 1))
        # A batch of reference and example is a mixture of both, in these shares.
        reference = x[: self.references]
        whole = (0, *positions)
        mean, variance = reference.mean(axis=whole, keepdims=True), F.var(reference, axis=whole, keepdims=True)
        own = x.mean(axis=positions, keepdims=True) if positions else x
        variance = (1 - share) * variance + share * (1 - share) * F.square(own - mean)
        if positions:
            variance = variance + share * F.var(x, axis=positions, keepdims=True)
        y = (x - (mean + share * (own - mean))) / F.sqrt(variance + self.eps)
        return y if self.scale is None else y * self.scale + self.shift

    def _shares(self, x):
        """The share of each row itself in its batch: 0 for reference rows, else 1 / (references + 1)."""
        n, r = x.shape[0], self.references
        share = np.where(np.arange(n) < r, 0, 1 / (r + 1)).astype(x.dtype).reshape((n,) + (1,) * (x.ndim - 1))
        return to_device(share, device_of(array_of(x)))


class WithReference(Module):
    """A network with `VirtualBatchNorm`, which is applied to a reference batch (R, ...) and to its input at once.

    The reference batch is part of the state. Its rows of the output are dropped.
    """

    def __init__(self, network: Module, reference):
        self.network, self.reference = network, reference

    def forward(self, x):
        return self.network(F.concatenate([self.reference, x], axis=0))[len(self.reference) :]
