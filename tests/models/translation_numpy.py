"""The networks of pix2pix and CycleGAN in NumPy, float64, from the parameters of ours."""

import numpy as np

from tinygen.nn import Conv2d, ConvTranspose2d

EPS = 1e-5


def weights_of(network):
    """(weight, bias or 0) of each convolution, in the order in which they were made."""
    layers = [module for module in network.modules() if isinstance(module, Conv2d | ConvTranspose2d)]
    return [(each.weight.numpy().astype(np.float64), 0 if each.bias is None else each.bias.numpy()) for each in layers]


def conv(x, layer, stride=1, padding=0):
    """Convolution of images (N, H, W, C) with (KH, KW, C, K), tap by tap."""
    (w, b), n = layer, layer[0].shape[0]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((side - n) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((len(x), height, width, w.shape[3]))
    for i in range(n):
        for j in range(n):
            y += x[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width] @ w[i, j]
    return y + b


def conv_transposed(x, layer, size):
    """Each pixel adds its weighted kernel, of (KH, KW, K, C), at twice its place; a margin of 1 is cut off."""
    (w, b), n = layer, layer[0].shape[0]
    _, height, width, _ = x.shape
    y = np.zeros((len(x), 2 * height + n, 2 * width + n, w.shape[2]))
    for i in range(n):
        for j in range(n):
            y[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += x @ w[i, j].T
    return y[:, 1 : 1 + size[0], 1 : 1 + size[1]] + b


def normed(x, axes, scale=1.0, shift=0.0):
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(var + EPS) * scale + shift


def leaky(x, slope=0.2):
    return np.where(x > 0, x, slope * x)


def relu(x):
    return np.maximum(x, 0)


def mirrored(x, n):
    return np.pad(x, ((0, 0), (n, n), (n, n), (0, 0)), mode="reflect")


def unet(network, x, norms, masks=None):
    """Section 6.1.1: `norms` are functions, in the order of the layers that are normalised, or an endless iterator.

    `masks` are those of dropout, for the first layers of the second half.
    """
    layers, n, norms = weights_of(network), len(network.down), iter(norms)
    x, features = 2 * x.astype(np.float64) - 1, []
    for i, layer in enumerate(layers[:n]):
        x = conv(x if i == 0 else leaky(x), layer, 2, 1)  # each activation stands before the next convolution
        x = next(norms)(x) if 0 < i < n - 1 else x
        features.append(x)
    x = features.pop()
    for i, layer in enumerate(layers[n:]):
        x = conv_transposed(relu(x), layer, (2 * x.shape[1], 2 * x.shape[2]))
        if i == n - 1:
            return 0.5 * (np.tanh(x) + 1)
        x = next(norms)(x)
        x = x * masks[i] if masks and i < len(masks) else x
        x = np.concatenate([x, leaky(features.pop())], axis=3)
    raise AssertionError("a network without layers")


def resnet(network, x, norm, blocks, halvings):
    """Section 7.2 of Zhu et al."""
    layers = iter(weights_of(network))
    x = relu(norm(conv(mirrored(2 * x.astype(np.float64) - 1, 3), next(layers))))
    for _ in range(halvings):
        x = relu(norm(conv(x, next(layers), 2, 1)))
    for _ in range(blocks):
        y = relu(norm(conv(mirrored(x, 1), next(layers))))
        x = x + norm(conv(mirrored(y, 1), next(layers)))
    for _ in range(halvings):
        x = relu(norm(conv_transposed(x, next(layers), (2 * x.shape[1], 2 * x.shape[2]))))
    return 0.5 * (np.tanh(conv(mirrored(x, 3), next(layers))) + 1)


def patches(network, x, norm, halvings):
    """Section 6.1.2 of Isola et al."""
    first, *middle, last = weights_of(network)
    x = leaky(conv(2 * x.astype(np.float64) - 1, first, 2, 1))
    for i, layer in enumerate(middle):
        x = leaky(norm(conv(x, layer, 2 if i < halvings - 1 else 1, 1)))
    return conv(x, last, 1, 1)
