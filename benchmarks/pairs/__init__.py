"""The same training step in tinygen and in PyTorch, for every kind of network (see `base`)."""

from benchmarks.pairs.adversarial import DCGAN, WGANGP
from benchmarks.pairs.autoregressive import MADE, GatedPixelCNN, PixelCNN, WaveNet
from benchmarks.pairs.base import (
    BATCHES,
    IMAGES,
    ROWS,
    Config,
    Pair,
    Peer,
    binary,
    matched_parameters,
    normal,
    our_networks,
    our_side,
    peer_networks,
    peer_side,
    trainable_parameters,
)
from benchmarks.pairs.denoising import UNetBlock
from benchmarks.pairs.energy import RBM
from benchmarks.pairs.perceptrons import AAE, GAN, Autoencoder
from benchmarks.pairs.sequences import LSTM, LanguageModel
from benchmarks.pairs.translation import CycleGAN, Pix2Pix
from benchmarks.pairs.variational import M2, VAE, VQVAE, ConvVAE

__all__ = [
    "BATCHES",
    "IMAGES",
    "ROWS",
    "Config",
    "Pair",
    "Peer",
    "binary",
    "matched_parameters",
    "normal",
    "our_networks",
    "our_side",
    "peer_networks",
    "peer_side",
    "trainable_parameters",
]

PAIRS: dict[str, Pair] = {
    "ae": Autoencoder(),
    "aae": AAE(),
    "gan": GAN(),
    "vae": VAE(),
    "conv_vae": ConvVAE(),
    "m2": M2(),
    "vq_vae": VQVAE(),
    "made": MADE(),
    "rbm": RBM(),
    "dcgan": DCGAN(),
    "wgan_gp": WGANGP(),
    "pixelcnn": PixelCNN(),
    "gated_pixelcnn": GatedPixelCNN(),
    "wavenet": WaveNet(),
    "unet_block": UNetBlock(),
    "pix2pix": Pix2Pix(),
    "cyclegan": CycleGAN(),
    "lstm": LSTM(),
    "lstm_lm": LanguageModel(),
}
