"""The training steps of `pairs` in JAX: each update is one compiled function, whose state is overwritten.

Arrays are in our layout, images (N, H, W, C) and weights (H, W, in, out). A function such as `vae` takes the
parameters of our networks, one list for each network, and returns the state before the first update and the function
`update(state, *arrays of a step) -> (state, losses before the update)`.
"""

from collections.abc import Callable
from itertools import cycle
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import leaky_relu, relu, silu, softplus

from benchmarks import pairs
from tinygen.kernels.geometry import tap_mask

IMAGES = ("NHWC", "HWIO", "NHWC")


def jax_side(pair: pairs.Pair, networks: list) -> Callable[[], tuple]:
    """JAX's side of a pair: a function that makes the next step, starting from the present weights of our networks."""
    weights = [[jnp.array(p.numpy()) for p in pairs.trainable_parameters([network])] for network in networks]
    state, update = STEPS[type(pair)](*weights)
    update = jax.jit(update, donate_argnums=0)
    turn = cycle([tuple(map(jnp.asarray, arrays)) for arrays in pairs.batches(pair)])

    def step():
        nonlocal state
        state, losses = jax.block_until_ready(update(state, *next(turn)))
        return losses

    return step


# Adam (Kingma & Ba 2015, arXiv:1412.6980)


class TrainingState(NamedTuple):
    """Parameters that Adam trains, a tree of arrays, with trees of the same form for the moments of their gradients."""

    parameters: Any
    mean: Any
    square: Any
    count: Any


def initial_state(parameters) -> TrainingState:
    """The state of Adam before the first update."""
    mean, square = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    return TrainingState(parameters, mean, square, jnp.zeros((), jnp.int32))


def adam(
    state: TrainingState, gradients, lr: float, *, betas=(0.9, 0.999), clip_norm: float | None = None
) -> TrainingState:
    if clip_norm is not None:
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients)))
        gradients = jax.tree.map(lambda g: g * jnp.minimum(1, clip_norm / norm), gradients)
    beta1, beta2 = betas
    count = state.count + 1
    mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state.mean, gradients)
    square = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, state.square, gradients)
    rate, scale = lr / (1 - beta1**count), 1 / (1 - beta2**count)
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v * scale) + 1e-8), state.parameters, mean, square
    )
    return TrainingState(parameters, mean, square, count)


def minimising_step(loss: Callable, networks, **options) -> tuple[TrainingState, Callable]:
    """(state, update) of steps that minimise loss(networks, *arrays) by Adam on all networks."""

    def update(state, *arrays):
        value, gradients = jax.value_and_grad(loss)(state.parameters, *arrays)
        return adam(state, gradients, 1e-3, **options), (value,)

    return initial_state(list(networks)), update


# Layers


def conv(x, w, b=0.0, stride: int = 1):
    """A convolution whose output has the input's size over the stride: an odd kernel, or an even one with stride 2."""
    pad = (w.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(x, w, (stride,) * 2, ((pad, pad),) * 2, dimension_numbers=IMAGES) + b


def conv_transpose(x, w, b=0.0):
    """The transposed convolution of stride 2: the adjoint of the convolution with the weight w (H, W, out, in)."""
    return jax.lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=IMAGES, transpose_kernel=True) + b


def batch_norm(x, scale, shift, running):
    """x normalised by the statistics of the batch, and the updated running mean and variance."""
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    count = x.size // x.shape[-1]
    updated = 0.9 * running[0] + 0.1 * mean, 0.9 * running[1] + 0.1 * var * count / (count - 1)
    return (x - mean) * (jax.lax.rsqrt(var + 1e-5) * scale) + shift, updated


def group_norm(x, scale, shift, groups: int = 8):
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    mean, var = (f(grouped, (1, 2, 4), keepdims=True) for f in (jnp.mean, jnp.var))
    return ((grouped - mean) * jax.lax.rsqrt(var + 1e-5)).reshape(x.shape) * scale + shift


def cross_entropy(logits, x):
    """Binary cross-entropy of x in [0, 1] under the logits, elementwise in nats."""
    return softplus(logits) - logits * x


# Variational auto-encoders


def vae_loss(encode, decode):
    def loss(networks, x, noise):
        encoder, decoder = networks
        mean, log_var = jnp.split(encode(encoder, x), 2, axis=1)
        logits = decode(decoder, mean + jnp.exp(0.5 * log_var) * noise)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_var) - log_var - 1).sum()
        return (cross_entropy(logits, x).sum() + divergence) / len(x)

    return loss


def vae(*networks):
    def perceptron(parameters, x):
        w1, b1, w2, b2 = parameters
        return relu(x @ w1 + b1) @ w2 + b2

    return minimising_step(vae_loss(perceptron, perceptron), networks)


def conv_vae(*networks):
    def encode(parameters, x):
        w1, b1, w2, b2, w3, b3 = parameters
        h = relu(conv(x, w1, b1, stride=2))
        h = relu(conv(h, w2, b2, stride=2))
        return h.reshape(len(h), -1) @ w3 + b3

    def decode(parameters, z):
        w1, b1, w2, b2, w3, b3 = parameters
        h = relu(z @ w1 + b1).reshape(-1, 7, 7, 64)
        h = relu(conv_transpose(h, w2, b2))
        return conv_transpose(h, w3, b3)

    return minimising_step(vae_loss(encode, decode), networks)


# Generative adversarial networks. Networks with batch normalisation take and return its running statistics.


def running(*features: int) -> list:
    """The initial running mean and variance of each batch normalisation of a network, by its number of features."""
    return [(jnp.zeros(n), jnp.ones(n)) for n in features]


def generate(parameters, statistics, z):
    w1, scale1, shift1, w2, scale2, shift2, w3, b3 = parameters
    first, second = statistics
    h, first = batch_norm((z @ w1).reshape(-1, 7, 7, 128), scale1, shift1, first)
    h, second = batch_norm(conv_transpose(relu(h), w2), scale2, shift2, second)
    return jnp.tanh(conv_transpose(relu(h), w3, b3)), [first, second]


def discriminate(parameters, statistics, x):
    w1, b1, w2, scale, shift, w3, b3 = parameters
    h = leaky_relu(conv(x, w1, b1, stride=2), 0.2)
    h, updated = batch_norm(conv(h, w2, stride=2), scale, shift, *statistics)
    return leaky_relu(h, 0.2).reshape(len(x), -1) @ w3 + b3, [updated]


def criticise(parameters, x):
    w1, b1, w2, b2, w3, b3 = parameters
    h = leaky_relu(conv(x, w1, b1, stride=2), 0.2)
    h = leaky_relu(conv(h, w2, b2, stride=2), 0.2)
    return h.reshape(len(x), -1) @ w3 + b3


def dcgan(generator, discriminator):
    def loss_of_discriminator(parameters, statistics, x, fake):
        real_logits, statistics = discriminate(parameters, statistics, x)
        fake_logits, statistics = discriminate(parameters, statistics, fake)
        return softplus(-real_logits).mean() + softplus(fake_logits).mean(), statistics

    def loss_of_images(fake, parameters, statistics):
        logits, statistics = discriminate(parameters, statistics, fake)
        return softplus(-logits).mean(), statistics

    def update(state, x, z):
        generator, discriminator, statistics_g, statistics_d = state
        options = {"lr": 2e-4, "betas": (0.5, 0.999)}
        fake, back, statistics_g = jax.vjp(lambda p: generate(p, statistics_g, z), generator.parameters, has_aux=True)
        graded = jax.value_and_grad(loss_of_discriminator, has_aux=True)
        (loss_d, statistics_d), gradients = graded(discriminator.parameters, statistics_d, x, fake)
        discriminator = adam(discriminator, gradients, **options)
        graded = jax.value_and_grad(loss_of_images, has_aux=True)
        (loss_g, statistics_d), gradients = graded(fake, discriminator.parameters, statistics_d)
        generator = adam(generator, *back(gradients), **options)
        return (generator, discriminator, statistics_g, statistics_d), (loss_d, loss_g)

    return (initial_state(generator), initial_state(discriminator), running(128, 64), running(128)), update


def wgan_gp(generator, critic):
    def loss_of_critic(parameters, x, fake, mix):
        between = mix * x + (1 - mix) * fake
        slope = jax.grad(lambda between: criticise(parameters, between).sum())(between)
        penalty = jnp.square(jnp.sqrt(jnp.square(slope).sum((1, 2, 3))) - 1).mean()
        return criticise(parameters, fake).mean() - criticise(parameters, x).mean() + 10 * penalty

    def update(state, x, z, mix):
        generator, critic, statistics = state
        fake, statistics = generate(generator, statistics, z)
        loss, gradients = jax.value_and_grad(loss_of_critic)(critic.parameters, x, fake, mix)
        return (generator, adam(critic, gradients, 1e-4, betas=(0.0, 0.9)), statistics), (loss,)

    return (generator, initial_state(critic), running(128, 64)), update


# Other models


def masked(w, kind: str):
    """The weight of a masked convolution, zero where the mask hides it."""
    return w * tap_mask((*w.shape[:2], 1, 1), (kind, 1)).astype(w.dtype)


def pixelcnn(*networks):
    def loss(networks, x):
        (parameters,) = networks
        (w, b), *blocks = zip(parameters[::2], parameters[1::2], strict=True)
        *blocks, last_but_one, last = blocks
        h = conv(x, masked(w, "A"), b)
        for (w1, b1), (w2, b2) in zip(blocks[::2], blocks[1::2], strict=True):
            h = h + conv(relu(conv(relu(h), masked(w1, "B"), b1)), w2, b2)
        h = conv(relu(h), *last_but_one)
        return cross_entropy(conv(relu(h), *last), x).mean()

    return minimising_step(loss, networks)


def unet_block(*networks):
    def normed(h, scale, shift, w, b):
        return conv(silu(group_norm(h, scale, shift)), w, b)

    def loss(networks, x, t, noise):
        stem, *blocks, end = networks
        h = conv(x, *stem)
        for block in blocks:
            first, (w, b), second = block[:4], block[4:6], block[6:]
            time = silu(t) @ w + b
            h = h + normed(normed(h, *first) + time[:, None, None], *second)
        return jnp.square(normed(h, *end) - noise).mean()

    return minimising_step(loss, networks)


def lstm(*networks):
    def loss(networks, x, target):
        (input_weight, hidden_weight, bias), (w, b) = networks

        def cell(state, projected):
            h, c = state
            i, f, g, o = jnp.split(projected + h @ hidden_weight, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = jnp.zeros((2, len(x), len(hidden_weight)))
        _, h = jax.lax.scan(cell, tuple(start), x.swapaxes(0, 1) @ input_weight + bias)
        log_p = jax.nn.log_softmax(h @ w + b)
        return -jnp.take_along_axis(log_p, target.T[..., None], axis=2).mean()

    return minimising_step(loss, networks, clip_norm=1.0)


STEPS: dict[type[pairs.Pair], Callable[..., tuple]] = {
    pairs.VAE: vae,
    pairs.ConvVAE: conv_vae,
    pairs.DCGAN: dcgan,
    pairs.WGANGP: wgan_gp,
    pairs.PixelCNN: pixelcnn,
    pairs.UNetBlock: unet_block,
    pairs.LSTM: lstm,
}
