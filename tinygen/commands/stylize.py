"""`tinygen stylize --content FILE --style FILE --features RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from tinygen.applications import results
from tinygen.applications.style import CONTENT_LAYER, STYLE_LAYERS, Transfer, Weights
from tinygen.backend import select_device
from tinygen.commands.flags import Debug, Device, File, at_least_one, default, flag_type, names
from tinygen.data.fields.pictures import unit_range
from tinygen.data.naming import naming
from tinygen.data.readers.decode import Decoder, ignore_warnings_of_pillow
from tinygen.errors import DataError, UsageError
from tinygen.models.features.files import open_network
from tinygen.random import Stream
from tinygen.train import images

Picture = Annotated[str, tyro.conf.arg(metavar="FILE")]
Network = Annotated[str, tyro.conf.arg(metavar="RUN|FILE")]
Layers = Annotated[tuple[str, ...], flag_type("A,B,...", names)]
REPORTED = 50
"""Iterations between two lines."""


@dataclass(frozen=True)
class Flags:
    """Paint the content of one picture in the style of another (Gatys et al. 2016)."""

    content: Picture
    """The picture whose content is kept."""
    style: Picture
    """The picture whose style is taken."""
    features: Network
    """The feature network: a run of `tinygen train features`, or a file of VGG-19 (.safetensors or .npz) with
    torchvision's names."""
    out: Annotated[File, default("stylized.png")] = None
    """File of the picture; the losses lie beside it in a .json file."""
    size: int = 256
    """Pixels of the longer side to which both pictures are made smaller."""
    steps: int = 200
    """Iterations of L-BFGS (1000 in the usual code)."""
    initial: Literal["content", "noise"] = "content"
    """The picture to begin with."""
    content_weight: float = Weights.content
    """Weight of the content's activations."""
    style_weight: float = Weights.style
    """Weight of the style's Gram matrices."""
    variation_weight: float = Weights.variation
    """Weight of the squared differences of neighbouring pixels."""
    content_layer: str = CONTENT_LAYER
    """Layer whose activations are the content."""
    style_layers: Annotated[Layers, default(",".join(STYLE_LAYERS))] = STYLE_LAYERS
    """Layers whose Gram matrices are the style."""
    judge: Annotated[File, default("none")] = None
    """Another feature network, a run or a file of VGG-19, that measures the style's distance before and after."""
    seed: int = 0
    """Seed of the noise to begin with."""
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(size=flags.size, steps=flags.steps)
    weights = Weights(flags.content_weight, flags.style_weight, flags.variation_weight)
    if min(vars(weights).values()) < 0:
        raise UsageError("a weight is negative: the loss would have no minimum")
    content, style = (read(Path(file), flags.size) for file in (flags.content, flags.style))
    device = select_device() if flags.device == "auto" else flags.device
    layers: dict[str, Any] = {"content_layer": flags.content_layer, "style_layers": flags.style_layers}
    network = open_network(flags.features, (flags.content_layer, *flags.style_layers))
    transfer = Transfer(network, content, style, **layers, device=device)
    judge = None
    if flags.judge:
        other = open_network(flags.judge, (flags.content_layer, *flags.style_layers), flag="--judge")
        judge = Transfer(other, content, style, **layers, device=device)
    start = content if flags.initial == "content" else Stream(flags.seed, "sample").uniform(content.shape)
    history, picture = [], start
    for step, losses, reached in transfer.minimise(start, weights, flags.steps):
        picture = reached
        history.append({"step": step, **{name: float(value) for name, value in vars(losses).items()}})
        if step % REPORTED == 0 or step == flags.steps:
            terms = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items() if name != "step")
            print(f"iteration {step}: {terms}")
    numbers: dict[str, Any] = {"weights": vars(weights), **layers, "history": history}
    numbers |= _distances({"features": transfer, **({"judge": judge} if judge else {})}, content, picture)
    results.save(images.sheet(picture, scale=1), numbers, Path(flags.out or "stylized.png"))


def _distances(transfers: dict[str, Transfer], content: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """The distance of the result from the style as a share of that of the content picture, in each network."""
    shares = {}
    for name, transfer in transfers.items():
        before, after = (transfer.style_distance(each) for each in (content, picture))
        shares[f"style_distance_{name}"] = share = after / max(before, 1e-30)
        where = "the network" if name == "features" else "the judge"
        print(f"distance from the style in {where}: {share:.1%} of that of the content picture")
    return shares


def read(file: Path, size: int) -> np.ndarray:
    """The picture in a file, (1, H, W, 3) in [0, 1], whose longer side is made smaller to `size`, antialiased.

    DataError if there is none.
    """
    from PIL import Image

    if not file.is_file():
        raise DataError(f"{file}: there is no such picture")
    ignore_warnings_of_pillow()
    with naming(file.parent):
        pixels = Decoder(file.parent, channels=3, remedy="give another one")(file.name)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    return unit_range(np.asarray(picture))[None]
