"""The models, by name."""

import difflib

from tinygen.data.needs import met_by_binarising, unmet
from tinygen.errors import DataError, UsageError
from tinygen.models.aae import AAE
from tinygen.models.autoencoder import Autoencoder, DenoisingAutoencoder
from tinygen.models.base import GenerativeModel
from tinygen.models.dcgan import DCGAN, ConditionalDCGAN
from tinygen.models.gan import GAN
from tinygen.models.pixelcnn import GatedPixelCNN, PixelCNN
from tinygen.models.vae import VAE
from tinygen.models.wgan import WGAN, WGANGP

__all__ = [
    "AAE",
    "DCGAN",
    "GAN",
    "VAE",
    "WGAN",
    "WGANGP",
    "Autoencoder",
    "ConditionalDCGAN",
    "DenoisingAutoencoder",
    "GatedPixelCNN",
    "GenerativeModel",
    "PixelCNN",
    "check_data",
    "get",
    "names",
]

_FAMILIES = (
    (Autoencoder, DenoisingAutoencoder, VAE, AAE),
    (PixelCNN, GatedPixelCNN),
    (GAN, DCGAN, ConditionalDCGAN, WGAN, WGANGP),
)
_MODELS = {model.name: model for family in _FAMILIES for model in family}


def names() -> list[str]:
    """Names of the models, as the command line takes them."""
    return sorted(_MODELS)


def get(name: str) -> type[GenerativeModel]:
    """The class of a model; UsageError with near matches where there is none."""
    if name in _MODELS:
        return _MODELS[name]
    near = difflib.get_close_matches(name, _MODELS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}"
    raise UsageError(f"unknown model {name!r}: {hint}")


def check_data(model: type[GenerativeModel], dataset, config=None):
    """The data set in a form that the model accepts with this Config; DataError where there is none.

    Grey images are binarised dynamically for a model that takes only binary ones (Salakhutdinov & Murray 2008).
    """
    if met_by_binarising(model.needs_with(config or model.Config()), dataset.spec):
        return dataset.binarised("dynamic")
    lacking = unmet(model.needs, dataset.spec)
    if lacking is None:
        return dataset
    takers = [name for name in names() if unmet(get(name).needs, dataset.spec) is None]
    hint = f"; models that take it: {', '.join(takers)}" if takers else ""
    raise DataError(f"model {model.name!r} needs {lacking}{hint}")
