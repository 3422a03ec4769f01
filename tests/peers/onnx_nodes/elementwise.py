"""ONNX operators on single elements."""

import math

import ml_dtypes
import numpy as np

from tests.peers.onnx_nodes.graph import OPERATORS, operator, require
from tinygen import functional as F

NARROW = (np.dtype("float16"), np.dtype(ml_dtypes.bfloat16))


def floats(function):
    """An operator on floats: computed in float32 for narrower ones; the result has the dtype of the first."""

    def call(*inputs, **attributes):
        narrow = next((x.dtype for x in inputs if getattr(x, "dtype", None) in NARROW), None)
        if narrow is not None:
            inputs = [x.astype("float32") if getattr(x, "dtype", None) in NARROW else x for x in inputs]
        y = function(*inputs, **attributes)
        if narrow is None:
            return y
        cast = lambda v: v.astype(narrow) if v is not None and v.dtype == np.float32 else v  # noqa: E731
        return tuple(map(cast, y)) if isinstance(y, tuple) else cast(np.asarray(y))

    return call


def is_float(x) -> bool:
    return x.dtype.kind == "f" or x.dtype in NARROW


def by_kind(ours, numpy_function):
    """An operator that is ours for floats, and NumPy's for integers and others."""

    def call(*inputs, **attributes):
        function = floats(ours) if is_float(inputs[0]) else numpy_function
        with np.errstate(all="ignore"):
            return function(*inputs, **attributes)

    return call


for name, function in {
    "Acos": F.acos,
    "Acosh": F.acosh,
    "Asin": F.asin,
    "Asinh": F.asinh,
    "Atan": F.atan,
    "Atanh": F.atanh,
    "Ceil": F.ceil,
    "Cos": F.cos,
    "Cosh": F.cosh,
    "Erf": F.erf,
    "Exp": F.exp,
    "Floor": F.floor,
    "Log": F.log,
    "Reciprocal": lambda x: 1 / x,
    "Relu": F.relu,
    "Round": F.round,
    "Sigmoid": F.sigmoid,
    "Sin": F.sin,
    "Sinh": F.sinh,
    "Softplus": F.softplus,
    "Softsign": lambda x: x / (1 + F.abs(x)),
    "Sqrt": F.sqrt,
    "Tan": F.tan,
    "Tanh": F.tanh,
    "Mish": lambda x: x * F.tanh(F.softplus(x)),
    "Elu": lambda x, alpha=1.0: F.elu(x, alpha=alpha),
    "Celu": lambda x, alpha=1.0: alpha * F.elu(x / alpha),
    "Selu": lambda x, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: gamma * F.elu(x, alpha=alpha),
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, slope=alpha),
    "ThresholdedRelu": lambda x, alpha=1.0: F.where(x > alpha, x, 0.0),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: F.clip(alpha * x + beta, 0.0, 1.0),
    "HardSwish": lambda x: x * F.clip(x / 6 + 0.5, 0.0, 1.0),
    "PRelu": F.prelu,
    "Swish": lambda x, alpha=1.0: x * F.sigmoid(alpha * x),
    "IsNaN": F.isnan,
    "Shrink": lambda x, lambd=0.5, bias=0.0: F.where(x < -lambd, x + bias, F.where(x > lambd, x - bias, 0.0 * x)),
}.items():
    OPERATORS[name] = floats(function)
OPERATORS["Shrink"] = by_kind(
    OPERATORS["Shrink"],
    lambda x, lambd=0.5, bias=0.0: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)).astype(x.dtype),
)


@operator("Gelu")
def gelu(x, approximate="none"):
    if approximate == "none":
        return F.gelu(x)
    return 0.5 * x * (1 + F.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


for name, ours, numpy_function in (
    ("Add", lambda a, b: a + b, np.add),
    ("Sub", lambda a, b: a - b, np.subtract),
    ("Mul", lambda a, b: a * b, np.multiply),
    ("Abs", F.abs, np.abs),
    ("Neg", lambda x: -x, np.negative),
    ("Sign", F.sign, np.sign),
    ("Equal", F.equal, np.equal),
    ("Greater", F.greater, np.greater),
    ("GreaterOrEqual", F.greater_equal, np.greater_equal),
    ("Less", F.less, np.less),
    ("LessOrEqual", F.less_equal, np.less_equal),
):
    OPERATORS[name] = by_kind(ours, numpy_function)


def _divided(a, b):
    """Division of integers towards zero."""
    return (
        (np.sign(a) * np.sign(b) * (np.abs(a.astype("int64")) // np.abs(b.astype("int64")))).astype(a.dtype)
        if a.dtype.kind == "i"
        else a // b
    )


OPERATORS["Div"] = by_kind(lambda a, b: a / b, _divided)


@operator("Pow")
def power(a, b):
    if is_float(a):
        return floats(lambda a, b: a**b)(a, b.astype(a.dtype))
    return np.power(a, b).astype(a.dtype) if b.dtype.kind in "iu" else np.power(a.astype("float64"), b).astype(a.dtype)


@operator("Mod")
def mod(a, b, fmod=0):
    with np.errstate(all="ignore"):
        if is_float(a):
            return floats(lambda a, b: np.fmod(a, b) if fmod else F.remainder(a, b))(a, b)
        return np.fmod(a, b) if fmod else np.mod(a, b)


def _folded(ours, numpy_function):
    def call(*xs):
        y = xs[0]
        for x in xs[1:]:
            y = by_kind(ours, numpy_function)(y, x)
        return y

    return call


OPERATORS["Max"], OPERATORS["Min"] = _folded(F.maximum, np.maximum), _folded(F.minimum, np.minimum)
OPERATORS["Sum"] = _folded(lambda a, b: a + b, np.add)
OPERATORS["Mean"] = lambda *xs: OPERATORS["Sum"](*xs) / np.asarray(len(xs), xs[0].dtype)
OPERATORS["And"], OPERATORS["Or"], OPERATORS["Xor"] = F.logical_and, F.logical_or, F.logical_xor
OPERATORS["Not"] = F.logical_not
OPERATORS["BitwiseAnd"], OPERATORS["BitwiseOr"] = np.bitwise_and, np.bitwise_or
OPERATORS["BitwiseXor"], OPERATORS["BitwiseNot"] = np.bitwise_xor, np.bitwise_not
OPERATORS["Identity"] = lambda x: x


@operator("IsInf")
def isinf(x, detect_negative=1, detect_positive=1):
    x = x.astype("float32") if x.dtype not in (np.float32, np.float64) else x
    return F.logical_or((x == math.inf) & bool(detect_positive), (x == -math.inf) & bool(detect_negative))


@operator("BitShift")
def bit_shift(a, b, direction):
    return np.left_shift(a, b) if direction == "LEFT" else np.right_shift(a, b)


@operator("Clip")
def clip(x, low=None, high=None, min=None, max=None):
    low, high = (low if low is not None else min), (high if high is not None else max)
    if low is not None:
        x = OPERATORS["Max"](x, np.asarray(low, x.dtype))
    return x if high is None else OPERATORS["Min"](x, np.asarray(high, x.dtype))


@operator("Where")
def where(condition, a, b):
    return F.where(condition, a, b) if a.dtype in (np.float32, np.float64) else np.where(condition, a, b)


@operator("Dropout")
def dropout(x, ratio=None, training_mode=None, seed=None, **_):
    require(training_mode is None or not training_mode or (ratio is not None and float(ratio) == 0))
    return x, np.ones(x.shape, bool)


@operator("Hardmax")
def hardmax(x, axis=-1):
    y = np.zeros_like(x)
    np.put_along_axis(y, F.argmax(x, axis=axis, keepdims=True), 1, axis)
    return y


@operator("Softmax")
def softmax(x, axis=-1):
    return floats(F.softmax)(x, axis=axis)


@operator("LogSoftmax")
def log_softmax(x, axis=-1):
    return floats(F.log_softmax)(x, axis=axis)
