"""PixelCNN (van den Oord et al. 2016, arXiv:1601.06759) and its gated form (2016, arXiv:1606.05328)."""

from dataclasses import dataclass

from tinygen import functional as F
from tinygen.data.fields import Labels
from tinygen.errors import UsageError
from tinygen.models.autoregressive.base import Autoregressive, RasterNetwork
from tinygen.models.autoregressive.causal import CausalConv2d, ShiftedConv2d
from tinygen.models.base import at_least
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, UNTRAINED, Demand, Trial
from tinygen.nn import Embedding, Module, Sequential


def check(config) -> None:
    """Raise UsageError for a Config that no network can have."""
    at_least(config, 1, "hidden", "blocks", "head", "batch_size")
    at_least(config, 0, "learning_rate", "warmup_steps", "cosine_steps")
    check_kernels(config, "first_kernel", "kernel")


def check_kernels(config, *names: str) -> None:
    """Raise UsageError for a size of a masked kernel that is not odd, or below 3."""
    for name in names:
        at_least(config, 3, name)
        if getattr(config, name) % 2 == 0:
            raise UsageError(f"{name} is {getattr(config, name)}; a masked convolution has a centre: use an odd number")


class WithLabels(Autoregressive):
    """A PixelCNN that is given the class of an image, if its Config says so.

    Each layer then has a bias for each class, the same at all places (1606.05328, equation 4).
    """

    @classmethod
    def needs_with(cls, config):
        return {**cls.needs, "y": Labels()} if config.conditional else cls.needs

    def __init__(self, config, spec, device: str = "cpu"):
        if config.conditional:
            self.conditions = ("y",)
        super().__init__(config, spec, device)

    @property
    def classes(self) -> int:
        """The number of classes that the network is given; 0 without conditions."""
        return self.spec.classes if self.conditions else 0


class PixelCNN(WithLabels):
    """PixelCNN: masked convolutions in residual blocks predict each pixel from those before it."""

    name = "pixelcnn"

    @dataclass(frozen=True)
    class Config:
        hidden: int = 32
        """Features of each pixel between the blocks (2h = 256 for CIFAR-10 in the paper, 32 for MNIST)."""
        blocks: int = 7
        """Number of residual blocks (15 for CIFAR-10 in the paper, 7 for MNIST)."""
        first_kernel: int = 7
        """Width and height of the kernel of the first convolution, of mask A; an odd number."""
        kernel: int = 3
        """Width and height of the kernels in the residual blocks, of mask B; an odd number."""
        head: int = 32
        """Features of each pixel before the logits (1024 for CIFAR-10 in the paper, 32 for MNIST)."""
        conditional: bool = False
        """Whether each layer is given the class of the image, which the data must have as labels y."""
        batch_size: int = 16
        """Images in a minibatch, as in the paper."""
        learning_rate: float = 3e-3
        """Peak learning rate of Adam, after the warm-up (the paper used RMSProp)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            check(self)

    def make_network(self, config, colours, logits):
        return PixelCNNNetwork(config, colours, logits, self.classes)


def class_biases(classes: int, sizes: list[int]) -> list[Embedding]:
    """V of equation 4 for layers of so many features, each a bias for each class; none without classes."""
    return [Embedding(classes, size) for size in sizes] if classes else []


def biases_of(layers: list[Embedding], labels) -> list:
    """The biases (N, 1, 1, features) of each layer, for images of the classes (N,)."""
    return [layer(labels).reshape((len(labels), 1, 1, -1)) for layer in layers]


class PixelCNNNetwork(RasterNetwork):
    """A masked convolution, residual blocks, and two 1x1 convolutions (table 1 of the paper)."""

    def __init__(self, config: PixelCNN.Config, colours: int, logits: int, classes: int = 0):
        self.layers = Sequential(
            CausalConv2d(colours, config.hidden, config.first_kernel, kind="A", colours=colours),
            *(ResidualBlock(config.hidden, config.kernel, colours) for _ in range(config.blocks)),
            Head(config.hidden, config.head, colours, logits),
        )
        self.of_class = class_biases(classes, [config.hidden] * (1 + config.blocks))

    def biases(self, labels) -> list:
        """Biases of the first convolution, and of that in each block, for images of the classes (N,)."""
        return biases_of(self.of_class, labels)

    def above(self, x, biases=None):
        return []

    def across(self, x, above, biases=None):
        if biases is None:
            return self.layers(x)
        first, *blocks, head = self.layers
        h = first(x) + biases[0]
        for block, bias in zip(blocks, biases[1:], strict=True):
            h = block(h, bias)
        return head(h)


class ResidualBlock(Module):
    """h + f(h). In figure 5 of the paper f first halves the features, which takes a CPU more time than it saves."""

    def __init__(self, hidden: int, kernel: int, colours: int):
        self.layers = Sequential(
            F.relu,
            CausalConv2d(hidden, hidden, kernel, kind="B", colours=colours),
            F.relu,
            pointwise(hidden, hidden, colours),
        )

    def forward(self, x, bias=None):
        if bias is None:
            return x + self.layers(x)
        _, convolution, _, last = self.layers
        return x + last(F.relu(convolution(F.relu(x)) + bias))


def pointwise(inputs: int, outputs: int, colours: int) -> CausalConv2d:
    """A 1x1 convolution; the features of a colour depend on those of the same colour and of the colours before it."""
    return CausalConv2d(inputs, outputs, 1, kind="B", colours=colours)


class Head(Module):
    """Maps features of each pixel to logits (N, H, W, colours), or (N, H, W, colours, logits) if `logits` > 1."""

    def __init__(self, inputs: int, hidden: int, colours: int, logits: int):
        self.shape = (colours, logits) if logits > 1 else (colours,)
        self.layers = Sequential(
            F.relu,
            pointwise(inputs, hidden, colours),
            F.relu,
            pointwise(hidden, colours * logits, colours),
        )

    def forward(self, x):
        return self.layers(x).reshape((*x.shape[:3], *self.shape))


class GatedPixelCNN(WithLabels):
    """Gated PixelCNN: gated activations, and two stacks of convolutions that together leave no blind spot."""

    name = "gated-pixelcnn"

    @dataclass(frozen=True)
    class Config:
        hidden: int = 32
        """Features of each pixel in each stack (128 for CIFAR-10 in the paper); for RGB the next multiple of 3."""
        blocks: int = 7
        """Number of gated blocks after the first (15 for CIFAR-10 in the paper)."""
        first_kernel: int = 7
        """Width of the kernels in the first gated block; an odd number."""
        kernel: int = 3
        """Width of the kernels in the gated blocks after the first (5 in the paper); an odd number."""
        head: int = 32
        """Features of each pixel before the logits."""
        conditional: bool = False
        """Whether each layer is given the class of the image, which the data must have as labels y."""
        batch_size: int = 16
        """Images in a minibatch (128 in the paper)."""
        learning_rate: float = 3e-3
        """Peak learning rate of Adam, after the warm-up (the paper used RMSProp)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            check(self)

    def make_network(self, config, colours, logits):
        return GatedNetwork(config, colours, logits, classes=self.classes)


class GatedNetwork(RasterNetwork):
    """A vertical stack sees the rows above; it feeds a horizontal one, which sees the pixels to the left (figure 2).

    Images have `inputs` channels, by default one for each colour.
    """

    def __init__(
        self,
        config: GatedPixelCNN.Config,
        colours: int,
        logits: int,
        *,
        inputs: int | None = None,
        classes: int = 0,
    ):
        hidden = -(-config.hidden // colours) * colours
        self.blocks = [GatedBlock(inputs or colours, hidden, config.first_kernel, colours, first=True)]
        self.blocks += [GatedBlock(hidden, hidden, config.kernel, colours) for _ in range(config.blocks)]
        self.head = Head(hidden, config.head, colours, logits)
        self.of_class = class_biases(classes, [2 * hidden] * (2 * len(self.blocks)))

    def biases(self, labels) -> list:
        """Biases of both gates in the vertical stack of each block, then of those in the horizontal one."""
        return biases_of(self.of_class, labels)

    def above(self, x, biases=None):
        into_rows = []
        for i, block in enumerate(self.blocks):
            x, into_row = block.down(x, biases[i] if biases else None)
            into_rows.append(into_row)
        return into_rows

    def across(self, x, above, biases=None):
        """The outputs for rows x, by the pixels to the left and by `above`: features of the rows above, per block."""
        features = x
        for i, (block, from_above) in enumerate(zip(self.blocks, above, strict=True)):
            features = block.right(features, from_above, biases[len(self.blocks) + i] if biases else None)
        return self.head(features)


class GatedBlock(Module):
    """One layer of both stacks (figure 2); the first does not see the predicted pixel, and has no residual connection.

    The vertical stack is shifted down by one row, so that each of its rows depends only on the rows above.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int, colours: int, first: bool = False):
        self.colours, self.first = colours, first
        rows = kernel // 2 if first else kernel // 2 + 1
        self.vertical = ShiftedConv2d(inputs, 2 * hidden, (rows, kernel), kind="rows")
        self.into_row = ShiftedConv2d(2 * hidden, 2 * hidden, 1, kind="rows")
        self.horizontal = CausalConv2d(inputs, 2 * hidden, (1, kernel), kind="A" if first else "B", colours=colours)
        self.output = pointwise(hidden, hidden, colours)

    def down(self, x, bias=None):
        """The vertical stack's next features, and its contribution to the horizontal stack."""
        y = self.vertical(x)
        return gate(y if bias is None else y + bias), self.into_row(y)

    def right(self, x, from_above, bias=None):
        """The horizontal stack's next features."""
        y = self.horizontal(x) + from_above
        y = self.output(gate(y if bias is None else y + bias, self.colours))
        return y if self.first else x + y


def gate(y, colours: int = 1):
    """tanh(a) * sigmoid(b) for the halves a, b of the features of each colour (equation 2)."""
    *pixels, features = y.shape
    return F.gated_tanh(y.reshape((*pixels, colours, features // colours))).reshape((*pixels, features // 2))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TRIAL = {"hidden": 16, "blocks": 3, "head": 16, "batch_size": 32, "learning_rate": 2e-2, "cosine_steps": 250}

TINY = {"hidden": 6, "blocks": 1, "first_kernel": 3, "head": 5}
OF_CLASS = TINY | {"conditional": True, "hidden": 12, "head": 16, "learning_rate": 2e-2, "warmup_steps": 0}

PixelCNN.tiny = (TINY, OF_CLASS)
PixelCNN.trials = (
    Trial(
        "digits8x8",
        1000,
        {"hidden": 32, "blocks": 3, "head": 32, "batch_size": 16, "learning_rate": 1e-2, "cosine_steps": 900},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.8), *SAMPLES_LIKE_DATA),
        binarised="threshold",
    ),
)
PixelCNN.recipes = ("--data mnist --binarise dynamic --steps 22500",)

GatedPixelCNN.tiny = (TINY, OF_CLASS)
GatedPixelCNN.trials = (
    Trial(
        "digits8x8",
        350,
        TRIAL,
        (Demand("nll_nats", "<", INDEPENDENT, times=0.8), *SAMPLES_LIKE_DATA),
        binarised="threshold",
    ),
    Trial(
        "fashion-mnist-7k",
        200,
        TRIAL | {"head": 32, "batch_size": 16, "learning_rate": 1e-2, "cosine_steps": 200},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.4),),
        binarised="threshold",
        quick=False,
    ),
    Trial(
        "digits8x8",
        500,
        TRIAL | {"conditional": True},
        (
            Demand("nll_nats", "<", INDEPENDENT, times=0.75),
            Demand("asked_class_rate", ">", UNTRAINED, plus=0.5),
            *SAMPLES_LIKE_DATA,
        ),
        binarised="threshold",
        quick=False,
    ),
)
GatedPixelCNN.recipes = (
    "--data mnist --binarise dynamic --epochs 4",
    "--data mnist --binarise dynamic --epochs 4 --conditional",
)
