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
    batches,
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
from benchmarks.pairs.diffusion import DDPM
from benchmarks.pairs.energy import RBM
from benchmarks.pairs.flows import MAF, RealNVP
from benchmarks.pairs.perceptrons import AAE, GAN, Autoencoder
from benchmarks.pairs.pixelrnn import DiagonalBiLSTM, PixelCNNPP, PixelLSTM, RowLSTM
from benchmarks.pairs.sequences import LSTM, LanguageModel
from benchmarks.pairs.superresolution import SRGAN
from benchmarks.pairs.translation import CycleGAN, Pix2Pix
from benchmarks.pairs.variational import M2, VAE, VQVAE, ConvVAE
from benchmarks.pairs.video import VPN

__all__ = [
    "BATCHES",
    "IMAGES",
    "ROWS",
    "Config",
    "Pair",
    "Peer",
    "batches",
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
    "srgan": SRGAN(),
    "pixelcnn": PixelCNN(),
    "gated_pixelcnn": GatedPixelCNN(),
    "pixelcnn_pp": PixelCNNPP(),
    "row_lstm": RowLSTM(),
    "diagonal_bilstm": DiagonalBiLSTM(),
    "pixel_lstm": PixelLSTM(),
    "wavenet": WaveNet(),
    "vpn": VPN(),
    "realnvp": RealNVP(),
    "maf": MAF(),
    "unet_block": UNetBlock(),
    "ddpm": DDPM(),
    "pix2pix": Pix2Pix(),
    "cyclegan": CycleGAN(),
    "lstm": LSTM(),
    "lstm_lm": LanguageModel(),
}
