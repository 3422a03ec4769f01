"""Entries of OpInfo for layers and losses: channels move to the end and back."""

import math

import numpy as np

from tests.peers.opinfo.adapter import ENTRIES, entry, require
from tinygen import functional as F


def last(x):
    """(N, C, ...) as (N, ..., C)."""
    return x.transpose((0, *range(2, x.ndim), 1))


def first(x):
    """(N, ..., C) as (N, C, ...)."""
    return x.transpose((0, x.ndim - 1, *range(1, x.ndim - 1)))


def batched(function, axes):
    """A function of (N, C, ...) with `axes` spatial axes for an example without N too."""

    def call(x, *args, **options):
        if x.ndim == axes + 1:
            return F.squeeze(function(F.unsqueeze(x, 0), *args, **options), 0)
        return function(x, *args, **options)

    return call


def one(value):
    """A number given alone, or as a sequence of one."""
    return value[0] if isinstance(value, list | tuple) else value


def pairs(value):
    return tuple(value) if isinstance(value, list | tuple) and len(value) > 1 else one(value)


CONVOLUTIONS = {1: (F.conv1d, F.conv_transpose1d), 2: (F.conv2d, F.conv_transpose2d), 3: (F.conv3d, F.conv_transpose3d)}


def _convolution(axes):
    def conv(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
        convert = one if axes == 1 else pairs
        padding = {"valid": 0}.get(padding, padding) if isinstance(padding, str) else convert(padding)
        w = w.transpose((*range(2, w.ndim), 1, 0))
        options = {"stride": convert(stride), "dilation": convert(dilation), "groups": groups, "padding": padding}
        return first(CONVOLUTIONS[axes][0](last(x), w, bias, **options))

    def transposed(x, w, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        convert = one if axes == 1 else pairs
        w = w.transpose((*range(2, w.ndim), 1, 0))
        options = {"stride": convert(stride), "padding": convert(padding), "dilation": convert(dilation)}
        options |= {"groups": groups, "output_padding": convert(output_padding)}
        return first(CONVOLUTIONS[axes][1](last(x), w, bias, **options))

    return conv, transposed


for axes in (1, 2, 3):
    for kind, function in zip(("conv", "conv_transpose"), _convolution(axes), strict=True):
        ENTRIES[f"nn.functional.{kind}{axes}d"] = batched(function, axes)

# Pooling


def _as_images(x):
    """Sequences (N, C, T) as images (N, C, 1, T)."""
    return F.unsqueeze(x, 2)


def _pool(kind, axes):
    function = {("max", 3): F.max_pool3d, ("avg", 3): F.avg_pool3d}.get(
        (kind, axes), F.max_pool2d if kind == "max" else F.avg_pool2d
    )

    def pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, **more):
        count = more.get("count_include_pad", True)
        require(not ceil_mode and not return_indices and more.get("divisor_override") is None)
        require(count or not np.any(padding))
        stride = None if stride is None or stride == [] else stride
        sizes = [kernel_size, kernel_size if stride is None else stride, padding, dilation]
        if axes == 1:
            size, stride, padding, dilation = ((fill, one(v)) for fill, v in zip((1, 1, 0, 1), sizes, strict=True))
            padding = ((0, 0), (padding[1],) * 2)
            x = _as_images(x)
        else:
            size, stride, padding, dilation = map(pairs, sizes)
        options = {"dilation": dilation} if kind == "max" else {}
        y = first(function(last(x), size, stride, padding, **options))
        return F.squeeze(y, 2) if axes == 1 else y

    return batched(pool, axes)


for axes in (1, 2, 3):
    ENTRIES[f"nn.functional.max_pool{axes}d"] = _pool("max", axes)


def _avg(axes):
    pool = _pool("avg", axes)

    def average(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        options = {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
        return pool(x, kernel_size, stride, padding, 1, ceil_mode, **options)

    return average


for axes in (1, 2, 3):
    ENTRIES[f"nn.functional.avg_pool{axes}d"] = _avg(axes)


def _adaptive(function, axes):
    def pool(x, size, return_indices=False):
        require(not return_indices)
        if axes == 1:
            return F.squeeze(first(function(last(_as_images(x)), (1, one(size)))), 2)
        size = tuple(size) if isinstance(size, list | tuple) else (size, size)
        return first(function(last(x), tuple(n if s is None else s for s, n in zip(size, x.shape[2:], strict=True))))

    return batched(pool, axes)


for kind, function in (("avg", F.adaptive_avg_pool2d), ("max", F.adaptive_max_pool2d)):
    for axes in (1, 2):
        ENTRIES[f"nn.functional.adaptive_{kind}_pool{axes}d"] = _adaptive(function, axes)

# Resampling and margins


def _interpolate(
    x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False
):
    if scale_factor is not None:
        factors = scale_factor if isinstance(scale_factor, list | tuple) else [scale_factor] * (x.ndim - 2)
        require(
            recompute_scale_factor or all(float(n * f).is_integer() for n, f in zip(x.shape[2:], factors, strict=True))
        )
        size = tuple(math.floor(n * f) for n, f in zip(x.shape[2:], factors, strict=True))
    size = tuple(size) if isinstance(size, list | tuple) else size
    options = {"mode": mode, "align_corners": bool(align_corners), "antialias": antialias}
    return first(F.interpolate(last(x), size, **options))


for mode in ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"):
    ENTRIES[f"nn.functional.interpolate:{mode}"] = _interpolate
ENTRIES["nn.functional.upsample_bilinear"] = lambda x, size=None, scale_factor=None: _interpolate(
    x, size, scale_factor, "bilinear", True
)
ENTRIES["nn.functional.upsample_nearest"] = lambda x, size=None, scale_factor=None: _interpolate(x, size, scale_factor)


@entry("_upsample_bilinear2d_aa")
def upsample_bilinear_antialiased(x, output_size, align_corners=False, **scales):
    require(not any(scales.values()) and not align_corners)
    return _interpolate(x, output_size, None, "bilinear", False, None, True)


def _widths(x, pads):
    widths = [(0, 0)] * x.ndim
    for i in range(0, len(pads), 2):
        widths[-1 - i // 2] = (pads[i], pads[i + 1])
    return widths


def _pad(x, pad, mode="constant", value=None):
    widths = _widths(x, pad)
    inside = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(widths, x.shape, strict=True))
    x = x[inside] if min(map(min, widths), default=0) < 0 else x
    widths = tuple((max(a, 0), max(b, 0)) for a, b in widths)
    return F.pad(x, widths, *([] if value is None else [float(value)]), mode=mode)


for mode in ("constant", "reflect", "replicate", "replicate_negative", "circular"):
    ENTRIES[f"nn.functional.pad:{mode}"] = _pad
ENTRIES["constant_pad_nd"] = lambda x, pad, value=0: _pad(x, pad, value=value)
ENTRIES["nn.functional.pixel_shuffle"] = lambda x, upscale_factor: _on_images(
    x, lambda y: F.pixel_shuffle(y, upscale_factor)
)
ENTRIES["nn.functional.pixel_unshuffle"] = lambda x, downscale_factor: _on_images(
    x, lambda y: F.pixel_unshuffle(y, downscale_factor)
)


def _on_images(x, function):
    """A function of channels-last images for (..., C, H, W)."""
    lead = x.shape[:-3]
    y = first(function(last(x.reshape((math.prod(lead), *x.shape[-3:])))))
    return y.reshape((*lead, *y.shape[1:]))


@entry("nn.functional.channel_shuffle")
def channel_shuffle(x, groups):
    n, c, *rest = x.shape
    return F.swapaxes(x.reshape((n, groups, c // groups, *rest)), 1, 2).reshape(x.shape)


@entry("nn.functional.grid_sample")
def grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    require(x.ndim == 4 and mode != "bicubic")
    return first(F.grid_sample(last(x), grid, mode=mode, padding=padding_mode, align_corners=bool(align_corners)))


@entry("grid_sampler_2d")
def grid_sampler_2d(x, grid, mode, padding, align_corners):
    modes, paddings = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    return grid_sample(x, grid, modes[mode], paddings[padding], align_corners)


@entry("nn.functional.unfold")
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    if x.ndim == 3:
        return F.squeeze(unfold(F.unsqueeze(x, 0), kernel_size, dilation, padding, stride), 0)
    height, width = kernel_size if isinstance(kernel_size, list | tuple) else (kernel_size,) * 2
    channels, w = x.shape[1], np.zeros((height, width, x.shape[1], x.shape[1] * height * width))
    for c, i, j in np.ndindex(channels, height, width):
        w[i, j, c, (c * height + i) * width + j] = 1
    y = first(F.conv2d(last(x), w, None, pairs(stride), pairs(padding), pairs(dilation)))
    return y.reshape((x.shape[0], channels * height * width, -1))


# Normalisation, dropout, attention


@entry("nn.functional.layer_norm")
def layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    return F.layer_norm(x, weight, bias, axes=len(shape), eps=eps)


@entry("nn.functional.rms_norm")
def rms_norm(x, shape, weight=None, eps=None):
    return F.rms_norm(x, weight, axes=len(shape), eps=np.finfo("float64").eps if eps is None else eps)


@entry("nn.functional.group_norm")
def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    require(x.ndim > 1)
    return (
        first(F.group_norm(last(x), groups, weight, bias, eps=eps))
        if x.ndim > 2
        else F.group_norm(x, groups, weight, bias, eps=eps)
    )


@entry("nn.functional.instance_norm")
def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    require(use_input_stats)
    return first(F.instance_norm(last(x), weight, bias, eps=eps))


@entry("nn.functional.batch_norm")
def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    statistics = {} if training else {"mean": running_mean, "var": running_var}
    require(training or running_mean is not None)
    return (
        first(F.batch_norm(last(x), weight, bias, eps=eps, **statistics))
        if x.ndim > 2
        else F.batch_norm(x, weight, bias, eps=eps, **statistics)
    )


@entry("nn.functional.local_response_norm")
def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    x, channels = last(x), x.shape[1]
    padded = F.pad(x * x, (*((0, 0),) * (x.ndim - 1), (size // 2, (size - 1) // 2)))
    mean = sum(padded[..., i : i + channels] for i in range(size)) * (1 / size)
    return first(x / (mean * alpha + k) ** beta)


@entry("nn.functional.normalize")
def normalize(x, p=2.0, dim=1, eps=1e-12, out=None):
    return x / F.maximum(F.norm(x, float(p), dim, True), eps)


@entry("nn.functional.scaled_dot_product_attention")
def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    require(dropout_p == 0.0 and not enable_gqa)
    return F.scaled_dot_product_attention(query, key, value, attn_mask, causal=is_causal, scale=scale)


@entry("nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d")
def dropout(x, p=0.5, training=True, inplace=False):
    require(not training or p == 0.0)
    return F.dropout(x, p, training=training)


ENTRIES["nn.functional.alpha_dropout"] = ENTRIES["nn.functional.feature_alpha_dropout:without_train"] = dropout


@entry("nn.functional.linear")
def linear(x, w, bias=None):
    if w.ndim == 1:
        y = F.sum(x * w, axis=-1)
        return y if bias is None else y + bias
    if bias is not None and bias.ndim != 1:
        return F.linear(x, w.T) + bias
    return F.linear(x, w.T, bias)


@entry("nn.functional.bilinear")
def bilinear(a, b, w, bias=None):
    lead = a.shape[:-1]
    a, b = (x.reshape(-1, x.shape[-1]) for x in (a, b))
    y = F.einsum("ni,kij,nj->nk", a, w, b).reshape((*lead, w.shape[0]))
    return y if bias is None else y + bias


@entry("nn.functional.embedding")
def embedding(indices, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    require(padding_idx is None and max_norm is None and not scale_grad_by_freq)
    return F.embedding(indices, weight)


ENTRIES["nn.functional.embedding"] = lambda weight, indices, **k: (
    embedding(indices, weight, **k) if weight.ndim == 2 else embedding(weight, indices, **k)
)


@entry("softmax", "softmax:with_dtype")
def softmax(x, dim, dtype=None, **_):
    return F.softmax(x, axis=dim)


@entry("log_softmax", "log_softmax:with_dtype")
def log_softmax(x, dim, dtype=None, **_):
    return F.log_softmax(x, axis=dim)


@entry("nn.functional.softmin", "nn.functional.softmin:with_dtype")
def softmin(x, dim, dtype=None):
    return F.softmax(-x, axis=dim)
