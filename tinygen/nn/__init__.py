"""Layers and their initialisers."""

from tinygen import words
from tinygen.nn import init
from tinygen.nn.activations import ELU, GELU, Identity, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from tinygen.nn.attention import MultiheadAttention
from tinygen.nn.convolution import (
    CausalConv1d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    MaskedConv1d,
    MaskedConv2d,
)
from tinygen.nn.layers import (
    BatchNorm,
    Dropout,
    Dropout2d,
    Embedding,
    Flatten,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    Reshape,
    RMSNorm,
    Sequential,
)
from tinygen.nn.minibatch import MinibatchDiscrimination, VirtualBatchNorm, WithReference
from tinygen.nn.module import Module, Parameter
from tinygen.nn.parametrizations import SpectralNorm, WeightNorm
from tinygen.nn.pooling import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    AvgPool3d,
    MaxPool2d,
    MaxPool3d,
    PixelShuffle,
    PixelUnshuffle,
    ReflectionPad2d,
    Upsample2d,
)
from tinygen.nn.recurrent import GRU, LSTM, ConvLSTM, GRUCell, LSTMCell

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm",
    "CausalConv1d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvLSTM",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GroupNorm",
    "Identity",
    "InstanceNorm",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaxPool2d",
    "MaxPool3d",
    "MinibatchDiscrimination",
    "Module",
    "MultiheadAttention",
    "PReLU",
    "Parameter",
    "PixelShuffle",
    "PixelUnshuffle",
    "RMSNorm",
    "ReLU",
    "ReflectionPad2d",
    "Reshape",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "SpectralNorm",
    "Tanh",
    "Upsample2d",
    "VirtualBatchNorm",
    "WeightNorm",
    "WithReference",
    "init",
]


def __getattr__(name: str):
    raise words.missing("module 'tinygen.nn'", name, words.LAYERS)
