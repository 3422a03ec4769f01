"""The optimisers. `tinygen.kernels.rules` has the update rule of each, as in the paper; kernels compute it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygen.errors import UsageError
from tinygen.kernels import rules
from tinygen.optim.optimizer import Optimizer, Parameters
from tinygen.optim.schedules import Number


class SGD(Optimizer):
    """Stochastic gradient descent with momentum; Nesterov's form on demand (Sutskever et al. 2013).

    v <- momentum v + g and theta <- theta - lr v, or theta <- theta - lr (g + momentum v) with `nesterov`.
    """

    rule, buffers = rules.sgd, ("velocity",)

    def __init__(
        self,
        parameters: Parameters,
        lr: Number,
        *,
        momentum: Number = 0.0,
        nesterov: bool = False,
        weight_decay: Number = 0.0,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        super().__init__(
            parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, clip_norm=clip_norm, clip_value=clip_value
        )
        if nesterov and self.momentum == 0:
            raise UsageError("SGD: nesterov has no effect without momentum; give a momentum, or leave nesterov out")
        self.nesterov = nesterov

    def numbers(self, t, value, **clipping):
        return rules.Sgd(
            rate=value("lr"),
            momentum=value("momentum"),
            decay=value("weight_decay"),
            nesterov=float(self.nesterov),
            **clipping,
        )


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): r <- r + g^2, theta <- theta - lr g / (sqrt(r) + eps)."""

    rule, buffers = rules.adagrad, ("square",)

    def __init__(
        self,
        parameters: Parameters,
        lr: Number = 1e-2,
        *,
        eps: float = 1e-10,
        weight_decay: Number = 0.0,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        super().__init__(
            parameters, lr=lr, eps=eps, weight_decay=weight_decay, clip_norm=clip_norm, clip_value=clip_value
        )

    def numbers(self, t, value, **clipping):
        return rules.Adagrad(rate=value("lr"), eps=value("eps"), decay=value("weight_decay"), **clipping)


class RMSProp(Optimizer):
    """RMSProp (Tieleman & Hinton 2012): r <- decay r + (1 - decay) g^2, theta <- theta - lr g / (sqrt(r) + eps)."""

    rule, buffers = rules.rmsprop, ("square",)

    def __init__(
        self,
        parameters: Parameters,
        lr: Number = 1e-2,
        *,
        decay: Number = 0.99,
        eps: float = 1e-8,
        weight_decay: Number = 0.0,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        super().__init__(
            parameters,
            lr=lr,
            decay=decay,
            eps=eps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )

    def numbers(self, t, value, **clipping):
        return rules.RmsProp(
            rate=value("lr"),
            alpha=value("decay"),
            eps=value("eps"),
            decay=value("weight_decay"),
            **clipping,
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1).

    m <- beta1 m + (1 - beta1) g and v <- beta2 v + (1 - beta2) g^2; corrected for their start at zero in update t,
    m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t); theta <- theta - lr m' / (sqrt(v') + eps).
    """

    rule, buffers = rules.adam, ("mean", "square")
    decoupled = False
    """Whether weight decay shrinks the parameters, instead of being added to the gradient."""

    def __init__(
        self,
        parameters: Parameters,
        lr: Number = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Number = 0.0,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        beta1, beta2 = _pair(betas)
        super().__init__(
            parameters,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )

    @property
    def betas(self) -> tuple[Number, Number]:
        """Both decay rates, as they were set."""
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, betas: tuple[Number, Number]) -> None:
        self.beta1, self.beta2 = _pair(betas)

    def numbers(self, t, value, **clipping):
        lr, decay = value("lr"), value("weight_decay")
        beta1, beta2 = value("beta1"), value("beta2")
        return rules.Adam(
            rate=lr / (1 - beta1**t),
            beta1=beta1,
            beta2=beta2,
            root=1 / math.sqrt(1 - beta2**t),
            eps=value("eps"),
            decay=0.0 if self.decoupled else decay,
            shrink=1 - lr * decay if self.decoupled else 1.0,
            **clipping,
        )


def _pair(betas: Any) -> tuple[Any, Any]:
    """The two decay rates of Adam; UsageError for anything but two."""
    if not isinstance(betas, Sequence | np.ndarray) or len(betas) != 2:
        raise UsageError(f"Adam: betas is {betas!r}; give two numbers, such as (0.9, 0.999)")
    return betas[0], betas[1]


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): theta <- (1 - lr weight_decay) theta comes first."""

    decoupled = True

    def __init__(self, parameters: Parameters, lr: Number = 1e-3, *, weight_decay: Number = 1e-2, **options: Any):
        super().__init__(parameters, lr, weight_decay=weight_decay, **options)
