"""PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517): whole pixels from a mixture of discretised logistics."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from tinygen import functional as F
from tinygen.backend import to_device
from tinygen.data import Dataset
from tinygen.data.fields import Image
from tinygen.distributions import DiscretizedLogisticMixture
from tinygen.errors import UsageError
from tinygen.models.autoregressive.base import Autoregressive, RasterNetwork
from tinygen.models.autoregressive.causal import CausalConv2d, ShiftedConv2d
from tinygen.models.base import Show, at_least, average_of
from tinygen.models.trial import INDEPENDENT, Demand, Trial
from tinygen.nn import Conv2d, Dropout, Module, WeightNorm
from tinygen.nn.parametrizations import initialise_from_data

INITIAL = 100  # images from which the first scales and biases are computed


class PixelCNNPP(Autoregressive):
    """PixelCNN++: each pixel's colours together, as a mixture of discretised logistic distributions."""

    name = "pixelcnn-pp"
    needs = {"x": (Image(kind="rgb"), Image(kind="grey"))}

    @dataclass(frozen=True)
    class Config:
        hidden: int = 32
        """Features of each pixel in each stack (160 in the paper)."""
        blocks: int = 3
        """Residual blocks on the way down, and as many on the way up, with short cuts from each of the former to one of
        the latter (18 in the paper, which also lowers the resolution in between)."""
        components: int = 5
        """Number of logistic distributions in the mixture (10 in the paper)."""
        dropout: float = 0.5
        """Dropout in the residual blocks (section 2.5)."""
        averaging: float = 0.999
        """Decay per step of the average of the weights (0.9995 in the authors' code); 0: no average."""
        batch_size: int = 16
        """Images in a minibatch."""
        learning_rate: float = 2e-3
        """Peak learning rate of Adam, after the warm-up."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "hidden", "blocks", "components", "batch_size")
            at_least(self, 0, "dropout", "averaging", "learning_rate", "warmup_steps", "cosine_steps")
            if self.dropout >= 1:
                raise UsageError(f"dropout is {self.dropout:g}; it must be below 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.average = average_of(self.network, config.averaging)

    def make_network(self, config, colours, logits):
        return PlusPlusNetwork(config, colours, config.components * DiscretizedLogisticMixture.parameters_of(colours))

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Set gains and biases so that the outputs of each layer have mean 0 and variance 1 on the first images.

        This is the initialisation of Salimans & Kingma 2016 (arXiv:1602.07868), section 3.
        """
        x = next(data.train.take(INITIAL).batches(INITIAL)).x
        with self.evaluating():
            initialise_from_data(self.network, to_device(x, self.device))
        if self.average:
            self.average = average_of(self.network, self.config.averaging)

    def mixture(self, outputs) -> DiscretizedLogisticMixture:
        """The distribution of pixels, from the outputs of the network."""
        return DiscretizedLogisticMixture(outputs, self.spec.x.shape[2])

    def nll(self, x):
        """-log p(x) in nats (N,) of images (N, H, W, C)."""
        return -self.mixture(self.network(x)).log_prob(x).sum(axis=(1, 2))

    def training_step(self, batch):
        scalars = super().training_step(batch)
        if self.average:
            self.average.update()
        return scalars

    @property
    def draws(self) -> int:
        return 1 + self.spec.x.shape[2]

    def _draw(self, logits, uniform):
        return self.mixture(logits).inverse(uniform)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with super().evaluating(), self.average.applied() if self.average else nullcontext():
            yield


class PlusPlusNetwork(RasterNetwork):
    """Two stacks of residual blocks: one sees the rows above, the other, which it feeds, also the pixels to the left.

    The second half of each stack has short cuts from the blocks of the first, the last of which feeds the first
    (section 2.4).
    """

    whole_pixels = True

    def __init__(self, config: PixelCNNPP.Config, colours: int, outputs: int):
        hidden, count = config.hidden, config.blocks
        self.rows = ShiftedConv2d(colours, hidden, (2, 3), kind="rows")
        self.beside = ShiftedConv2d(colours, hidden, (1, 3), kind="rows")
        self.left = CausalConv2d(colours, hidden, (1, 5), kind="A")
        of_rows, of_corner = ((2, 3), "rows"), ((2, 2), "corner")
        self.down_rows = [Block(hidden, *of_rows, 0, config.dropout) for _ in range(count)]
        self.down = [Block(hidden, *of_corner, hidden, config.dropout) for _ in range(count)]
        self.up_rows = [Block(hidden, *of_rows, hidden, config.dropout) for _ in range(count)]
        self.up = [Block(hidden, *of_corner, 2 * hidden, config.dropout) for _ in range(count)]
        self.head = WeightNorm(Conv2d(hidden, outputs, 1))

    def above(self, x):
        """The features of the rows above: of the first layer, and of each block."""
        features = [self.beside(x)]
        h, shortcuts = self.rows(x), []
        for block in self.down_rows:
            shortcuts.append(h := block(h))
            features.append(h)
        for block in self.up_rows:
            features.append(h := block(h, shortcuts.pop()))
        return features

    def across(self, x, above):
        """The parameters of the mixture for rows x, by the pixels to the left and the features of the rows above."""
        first, *rows = above
        h, shortcuts = self.left(x) + first, []
        for block, from_rows in zip(self.down, rows[: len(self.down)], strict=True):
            shortcuts.append(h := block(h, from_rows))
        for block, from_rows in zip(self.up, rows[len(self.down) :], strict=True):
            h = block(h, F.concatenate([from_rows, shortcuts.pop()], axis=-1))
        return self.head(F.elu(h))


class Block(Module):
    """A gated residual block, h + a s(b) with a, b = conv(dropout(elu(conv(elu(h)) + 1x1(elu(more))))).

    The activation is elu of the features and of their negatives, side by side.
    """

    def __init__(self, hidden: int, kernel, kind, more: int, dropout: float):
        self.first = WeightNorm(ShiftedConv2d(2 * hidden, hidden, kernel, kind=kind))
        self.more = WeightNorm(Conv2d(2 * more, hidden, 1)) if more else None
        self.dropout = Dropout(dropout)
        self.second = WeightNorm(ShiftedConv2d(2 * hidden, 2 * hidden, kernel, kind=kind))

    def forward(self, x, more=None):
        h = self.first(both_signs(x))
        if self.more is not None:
            h = h + self.more(both_signs(more))
        a, b = F.chunk(self.second(self.dropout(both_signs(h))), 2, axis=-1)
        return x + a * F.sigmoid(b)


def both_signs(x):
    """elu of x and of -x, side by side."""
    return F.elu(F.concatenate([x, -x], axis=-1))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

PixelCNNPP.tiny = (
    {"hidden": 4, "blocks": 1, "components": 2, "dropout": 0.0},
    {"hidden": 3, "blocks": 2, "components": 1, "averaging": 0.0},
)
PixelCNNPP.trials = (
    Trial(
        "coloured-digits8x8",
        140,
        {"hidden": 16, "blocks": 2, "dropout": 0.0, "averaging": 0.98, "learning_rate": 1e-2, "cosine_steps": 120},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.8),),
    ),
)
PixelCNNPP.recipes = ("--data cifar10_5k --steps 4000",)
