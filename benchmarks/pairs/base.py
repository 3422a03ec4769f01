"""Training steps in two libraries, side by side: `ours` in tinygen, `peer` in PyTorch.

A pair draws the arrays of a step in our layout, images (N, H, W, C). Each side is given its library as an argument, so
that a process imports only what it measures. It returns its networks, whose parameters have the same order on both
sides, and a function that makes one update and returns the losses before it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, cycle
from typing import Any

import numpy as np

BATCHES = 5
"""Number of different batches that a side uses in turns."""


@dataclass(frozen=True)
class Config:
    """A configuration of PyTorch: its implementation of Adam, the memory format of images (None: no images), and
    whether the functions that a pair marks are compiled, with CUDA graphs."""

    adam: str
    images: str | None = None
    compiled: bool = False

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.images, f"{self.adam} Adam", "compiled" * self.compiled]))


ROWS = (Config("fused"), Config("foreach"))
IMAGES = (Config("fused", "channels_last"), Config("foreach", "channels_last"), Config("fused", "contiguous"))


class Peer:
    """Helpers for the definitions in PyTorch, in one configuration."""

    def __init__(self, torch, config: Config):
        self.torch, self.config = torch, config
        self.format = torch.channels_last if config.images == "channels_last" else torch.contiguous_format

    def image(self, x):
        """(N, H, W, C) to (N, C, H, W) in the configured memory format; no copy for channels last."""
        return x.permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def rows(self, x):
        """(N, C, H, W) to (N, H * W * C), the order of ours; no copy from channels last."""
        return x.permute(0, 2, 3, 1).flatten(1)

    def adam(self, networks, lr: float, **options):
        """The configured Adam for the trainable parameters of the networks."""
        return self.torch.optim.Adam(trainable_parameters(networks), lr, **{self.config.adam: True}, **options)

    def compiled(self, function):
        """The function, compiled if the configuration says so."""
        return self.torch.compile(function, mode="reduce-overhead") if self.config.compiled else function

    def checkpoint(self, function, *tensors):
        """Call a function that draws no random numbers, and again in the backward pass, keeping no intermediates."""
        from torch.utils.checkpoint import checkpoint

        return checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)

    def update(self, optimizer, loss, clip_norm: float | None = None) -> None:
        """Make one update; only gradients of the optimiser's parameters are computed."""
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        if clip_norm is not None:
            self.torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()


def trainable_parameters(networks) -> list:
    """The parameters of the networks that require gradients."""
    return [p for p in chain.from_iterable(network.parameters() for network in networks) if p.requires_grad]


def masked_conv2d(torch, inputs: int, outputs: int, side: int, *, kind: str):
    """PyTorch's convolution of the pixels before the present one and, of kind "B", of that too; same size."""

    class MaskedConv2d(torch.nn.Conv2d):
        def __init__(self):
            super().__init__(inputs, outputs, side, padding=side // 2)
            mask = torch.ones(side, side)
            mask[side // 2, side // 2 + (kind == "B") :] = 0
            mask[side // 2 + 1 :] = 0
            self.register_buffer("mask", mask)

        def forward(self, x):
            return torch.nn.functional.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)

    return MaskedConv2d()


def call(function, *arguments):
    """`function(*arguments)`, for networks that are called either so or by `checkpoint`."""
    return function(*arguments)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def binary(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.random(shape) < 0.5).astype(np.float32)


@dataclass(frozen=True)
class Pair:
    """A training step in both libraries; class attributes are its title and the configurations of PyTorch to try."""

    batch: int
    device: str = "cpu"
    title = ""
    configs = IMAGES

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Random data and noise of one step, the arguments of both sides' functions."""
        raise NotImplementedError

    def for_peer(self, peer: Peer, tensors: list) -> list:
        """The Tensors of a step in PyTorch's layout, here NCHW for images."""
        return [peer.image(a) if a.ndim == 4 else a for a in tensors]

    def ours(self, tg) -> tuple[list, Callable]:
        raise NotImplementedError

    def peer(self, torch, peer: Peer) -> tuple[list, Callable]:
        raise NotImplementedError


# The sides of a pair: functions that make the next step, using the same batches in turns


def batches(pair: Pair) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(0)
    return [pair.draw(rng) for _ in range(BATCHES)]


def our_networks(pair: Pair, tg) -> tuple[list, Callable[..., tuple]]:
    """Our networks, whose initial weights are always the same, and their step."""
    tg.seed(0)
    return pair.ours(tg)


def our_side(pair: Pair, tg, wrap: Callable = lambda step: step) -> tuple[list, Callable[[], tuple]]:
    """Our networks, and a function that makes the next step; `wrap` is applied to the step of the pair."""
    networks, step = our_networks(pair, tg)
    step = wrap(step)
    turn = cycle([[tg.backend.to_device(a, pair.device) for a in arrays] for arrays in batches(pair)])
    return networks, lambda: step(*next(turn))


def peer_side(pair: Pair, torch, config: Config, networks: list | None = None) -> Callable[[], tuple]:
    """PyTorch's function that makes the next step, in a configuration, with the weights of our networks if given."""
    _, step, prepared = peer_networks(pair, torch, config, networks)
    turn = cycle([prepared(arrays) for arrays in batches(pair)])
    return lambda: step(*next(turn))


def peer_networks(
    pair: Pair, torch, config: Config, networks: list | None = None
) -> tuple[list, Callable[..., tuple], Callable[[tuple], list]]:
    """PyTorch's networks, with the weights of ours if given, their step, and what makes its Tensors of arrays."""
    peer = Peer(torch, config)
    with torch.device(pair.device):
        theirs, step = pair.peer(torch, peer)
    for network in theirs:
        network.to(memory_format=peer.format)
    if networks is not None:
        copy_parameters(networks, theirs, torch)

    def prepared(arrays: tuple[np.ndarray, ...]) -> list:
        return pair.for_peer(peer, [torch.from_numpy(a).to(pair.device) for a in arrays])

    def marked_step(*tensors) -> tuple:
        if config.compiled:  # without it a compiled function may overwrite outputs of another one in the same step
            torch.compiler.cudagraph_mark_step_begin()
        return step(*tensors)

    return theirs, marked_step, prepared


def copy_parameters(ours: list, theirs: list, torch: Any) -> None:
    """Copy our parameters to PyTorch's."""
    for p, q in matched_parameters(ours, theirs, torch):
        q.copy_(torch.from_numpy(p.numpy()))


def matched_parameters(ours: list, theirs: list, torch: Any) -> Iterator[tuple]:
    """Our parameters, and views of PyTorch's with our axes; theirs are outputs, inputs, kernel (not embeddings')."""
    modules = chain.from_iterable(network.modules() for network in theirs)
    embeddings = {id(module.weight) for module in modules if isinstance(module, torch.nn.Embedding)}
    for p, q in zip(trainable_parameters(ours), trainable_parameters(theirs), strict=True):
        same = p.ndim == 1 or id(q) in embeddings
        view = q.data if same else q.data.movedim((0, 1), (-1, -2))
        view = view[(0,) * (view.ndim - p.ndim)]  # a linear layer may be a convolution of width 1 there
        if p.shape != tuple(view.shape):
            raise ValueError(f"a parameter {p.shape} of ours does not fit PyTorch's {tuple(view.shape)}")
        yield p, view
