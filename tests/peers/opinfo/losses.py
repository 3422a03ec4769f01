"""Entries of OpInfo for losses."""

import math

import numpy as np

from tests.peers.opinfo.adapter import ENTRIES, entry, require
from tests.peers.opinfo.arithmetic import raw, wide
from tests.peers.opinfo.networks import last
from tinygen import functional as F


def reduced(loss, reduction):
    return {"mean": F.mean, "sum": F.sum}.get(reduction, lambda x: x)(loss)


def elementwise(function):
    def loss(x, y, reduction="mean", weight=None, size_average=None, reduce=None, **options):
        require(size_average is None and reduce is None)
        shape = np.broadcast_shapes(x.shape, y.shape)
        x, y = (F.broadcast_to(wide(v), shape=shape) if v.shape != shape else wide(v) for v in (x, y))
        value = function(x, y, **options)
        value = value if weight is None else value * weight
        return F.sum(value) * (1 / len(x)) if reduction == "batchmean" else reduced(value, reduction)

    return loss


def _huber(x, y, delta=1.0):
    return F.huber(x, y, delta=delta)


def _smooth_l1(x, y, beta=1.0):
    return F.absolute_error(x, y) if beta == 0 else F.huber(x, y, delta=beta) * (1 / beta)


def _kl_div(x, y, log_target=False):
    if log_target:
        return F.exp(y) * (y - x)
    zero = raw(y) == 0
    return F.where(zero, 0.0, y * F.log(F.where(zero, 1.0, y))) - y * x


def _poisson(x, y, log_input=True, full=False, eps=1e-8):
    require(not full)
    return F.exp(x) - y * x if log_input else x - y * F.log(x + eps)


def _hinge_embedding(x, y, margin=1.0):
    return F.where(raw(y) == -1, 0.0, x) + F.where(raw(y) == 1, 0.0, F.maximum(margin - x, 0.0))


def _bce_logits(x, y, pos_weight=None):
    if pos_weight is None:
        return F.binary_cross_entropy_with_logits(x, y)
    return F.softplus(-x) * y * pos_weight + F.softplus(x) * (1 - y)


for name, function in (
    ("mse_loss", F.squared_error),
    ("l1_loss", F.absolute_error),
    ("huber_loss", _huber),
    ("smooth_l1_loss", _smooth_l1),
    ("kl_div", _kl_div),
    ("poisson_nll_loss", _poisson),
    ("soft_margin_loss", lambda x, y: F.softplus(-y * x)),
    ("hinge_embedding_loss", _hinge_embedding),
    ("binary_cross_entropy", lambda x, y: -(y * F.log(x) + (1 - y) * F.log(1 - x))),
    ("binary_cross_entropy_with_logits", _bce_logits),
):
    ENTRIES[f"nn.functional.{name}"] = elementwise(function)


@entry("nn.functional.cross_entropy")
def cross_entropy(x, target, weight=None, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    require(weight is None and label_smoothing == 0.0)
    x = last(x) if x.ndim > 2 else x
    if target.dtype == np.float64:
        target = last(target) if target.ndim > 2 else target
        value = -F.sum(F.log_softmax(x) * target, axis=-1)
        return F.sum(value) * (1 / max(value.size, 1)) if reduction == "mean" else reduced(value, reduction)
    require((target != ignore_index).all())
    return reduced(F.cross_entropy(x, target), reduction)


@entry("nn.functional.nll_loss")
def nll_loss(x, target, weight=None, reduction="mean", ignore_index=-100):
    require(weight is None and (target != ignore_index).all() and target.min(initial=0) >= 0)
    x = last(x) if x.ndim > 2 else x
    return reduced(-F.squeeze(F.take_along_axis(x, target[..., None], axis=-1), -1), reduction)


@entry("nn.functional.gaussian_nll_loss")
def gaussian_nll_loss(x, target, var, full=False, eps=1e-6, reduction="mean"):
    if not hasattr(var, "ndim"):
        var = 0 * x + float(var)
    var = F.unsqueeze(var, -1) if var.shape == x.shape[:-1] else var
    safe = F.where(raw(var) < eps, eps + 0 * var, var)
    value = 0.5 * (F.log(safe) + (x - target) ** 2 / safe)
    return reduced(value + 0.5 * math.log(2 * math.pi) if full else value, reduction)


@entry("nn.functional.margin_ranking_loss")
def margin_ranking_loss(a, b, target, margin=0.0, reduction="mean"):
    return reduced(F.relu(-wide(target) * (a - b) + margin), reduction)


@entry("nn.functional.cosine_similarity")
def cosine_similarity(a, b, dim=1, eps=1e-8):
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = (F.broadcast_to(x, shape=shape) for x in (a, b))
    length = F.maximum(F.norm(a, 2, dim), eps) * F.maximum(F.norm(b, 2, dim), eps)
    return F.sum(a * b, axis=dim) / length


@entry("nn.functional.pairwise_distance")
def pairwise_distance(a, b, p=2.0, eps=1e-6, keepdim=False):
    return F.norm(a - b + eps, float(p), -1, keepdim)


@entry("nn.functional.triplet_margin_loss")
def triplet_margin_loss(a, p, n, margin=1.0, p_norm=2, eps=1e-6, swap=False, reduction="mean", **options):
    order = float(options.pop("p", p_norm))
    near, far = pairwise_distance(a, p, order, eps), pairwise_distance(a, n, order, eps)
    if swap:
        far = F.minimum(far, pairwise_distance(p, n, order, eps))
    return reduced(F.relu(near - far + margin), reduction)


ENTRIES["nn.functional.triplet_margin_loss"] = (
    lambda a, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, reduction="mean": triplet_margin_loss(
        a, positive, negative, margin, p, eps, swap, reduction
    )
)


@entry("nn.functional.multilabel_soft_margin_loss")
def multilabel_soft_margin_loss(x, target, weight=None, reduction="mean"):
    value = F.softplus(-x) * target + F.softplus(x) * (1 - target)
    return reduced(F.mean(value if weight is None else value * weight, axis=-1), reduction)
