"""Entries of OpInfo for functions of single elements and comparisons."""

import math

import numpy as np

import tinygen as tg
from tests.peers.opinfo.adapter import ENTRIES, entry, require
from tinygen import functional as F


def raw(x):
    return x.data if isinstance(x, tg.Tensor) else x


def wide(x):
    """A number or an integer array as float64, which may stand beside a Tensor."""
    return np.asarray(x, "float64") if isinstance(x, np.ndarray | np.generic) and x.dtype != np.float64 else x


def unary(function):
    return lambda x: function(wide(x))


for names, function in (
    ("abs", F.abs),
    ("acos", F.acos),
    ("acosh", F.acosh),
    ("asin", F.asin),
    ("asinh", F.asinh),
    ("atan", F.atan),
    ("atanh", F.atanh),
    ("ceil", F.ceil),
    ("cos", F.cos),
    ("cosh", F.cosh),
    ("exp", F.exp),
    ("expm1", F.expm1),
    ("erf", F.erf),
    ("floor", F.floor),
    ("lgamma", F.lgamma),
    ("log", F.log),
    ("log1p", F.log1p),
    ("nn.functional.relu", F.relu),
    ("sigmoid", F.sigmoid),
    ("sign sgn", F.sign),
    ("sin", F.sin),
    ("sinh", F.sinh),
    ("sqrt", F.sqrt),
    ("square", F.square),
    ("tan", F.tan),
    ("tanh", F.tanh),
    ("trunc", F.trunc),
    ("round round:decimals_0", F.round),
    ("isfinite", F.isfinite),
    ("isinf", F.isinf),
    ("isnan", F.isnan),
    ("nn.functional.silu", F.silu),
    ("neg", lambda x: -x),
    ("positive clone contiguous conj conj_physical resolve_conj resolve_neg real alias_copy double", lambda x: x),
    ("reciprocal", lambda x: 1 / x),
    ("rsqrt", lambda x: 1 / F.sqrt(x)),
    ("frac", lambda x: x - F.trunc(x)),
    ("exp2", lambda x: F.exp(x * math.log(2))),
    ("log2", lambda x: F.log(x) * (1 / math.log(2))),
    ("log10", lambda x: F.log(x) * (1 / math.log(10))),
    ("erfc", lambda x: 1 - F.erf(x)),
    ("deg2rad", lambda x: x * (math.pi / 180)),
    ("rad2deg", lambda x: x * (180 / math.pi)),
    ("special.ndtr", lambda x: 0.5 * (1 + F.erf(x * math.sqrt(0.5)))),
    ("isposinf", lambda x: x == math.inf),
    ("isneginf", lambda x: x == -math.inf),
    ("isreal", lambda x: x == x if not np.isnan(raw(x)).any() else F.logical_or(x == x, F.isnan(x))),
    ("nn.functional.hardswish", lambda x: x * F.clip(x + 3, 0.0, 6.0) * (1 / 6)),
    ("nn.functional.hardsigmoid", lambda x: F.clip(x + 3, 0.0, 6.0) * (1 / 6)),
    ("nn.functional.logsigmoid", lambda x: -F.softplus(-x)),
    ("nn.functional.mish", lambda x: x * F.tanh(F.softplus(x))),
    ("nn.functional.softsign", lambda x: x / (1 + F.abs(x))),
    ("nn.functional.tanhshrink", lambda x: x - F.tanh(x)),
    ("nn.functional.selu", lambda x: 1.0507009873554805 * F.elu(x, alpha=1.6732632423543772)),
):
    for name in names.split():
        ENTRIES[name] = lambda x, function=function, **k: (require(not any(k.values())), function(x))[1]


@entry("sinc")
def sinc(x):
    angle = x * math.pi
    small = F.abs(angle) < 0.1
    near, far = F.where(small, angle * angle, 0.0), F.where(small, 1.0, angle)
    return F.where(small, 1 - near * (1 / 6) * (1 - near / 20 * (1 - near / 42 * (1 - near / 72))), F.sin(far) / far)


@entry("digamma")
def digamma(x):
    require((raw(x) > -10).all() and not ((raw(x) <= 0) & (raw(x) == np.rint(raw(x)))).any())
    return F.digamma(x)


@entry(*(f"polygamma:polygamma_n_{n}" for n in range(5)), "special.polygamma:special_polygamma_n_0")
def polygamma(x, n):
    require((raw(x) > -10).all() and not ((raw(x) <= 0) & (raw(x) == np.rint(raw(x)))).any())
    return F.polygamma(x, n=n) if n else F.digamma(x)


@entry("mvlgamma:mvlgamma_p_1", "mvlgamma:mvlgamma_p_3", "mvlgamma:mvlgamma_p_5")
def mvlgamma(x, p):
    return p * (p - 1) / 4 * math.log(math.pi) + sum(F.lgamma(x - j / 2) for j in range(p))


@entry("logit")
def logit(x, eps=None):
    x = x if eps is None else F.clip(x, eps, 1 - eps)
    return F.log(x) - F.log(1 - x)


@entry("round:decimals_3", "round:decimals_neg_3")
def round_decimals(x, decimals):
    return F.round(x * 10.0**decimals) / 10.0**decimals


@entry("nan_to_num")
def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    top = np.finfo("float64").max
    x = F.where(F.isnan(x), float(nan or 0.0), x)
    x = F.where(x == math.inf, float(top if posinf is None else posinf), x)
    return F.where(x == -math.inf, float(-top if neginf is None else neginf), x)


@entry("special.entr")
def entr(x):
    inside = x > 0
    safe = F.where(inside, x, 1.0)
    outside = np.where(np.isnan(raw(x)), math.nan, np.where(raw(x) == 0, 0.0, -math.inf))
    return F.where(inside, -safe * F.log(safe), outside)


def _xlog(log):
    def function(x, y):
        x, y = wide(x), wide(y)
        zero = F.logical_and(raw(x) == 0, np.logical_not(np.isnan(raw(y))))
        return F.where(zero, 0.0, x * log(F.where(zero, 0.5, y)))

    return function


ENTRIES["xlogy"], ENTRIES["special.xlog1py"] = _xlog(F.log), _xlog(F.log1p)

# Activations with options


@entry("nn.functional.leaky_relu")
def leaky_relu(x, negative_slope=0.01, inplace=False):
    return F.leaky_relu(x, slope=negative_slope)


@entry("nn.functional.elu", "nn.functional.celu")
def elu(x, alpha=1.0, inplace=False):
    require(alpha > 0)
    return F.elu(x, alpha=alpha)


@entry("nn.functional.celu")
def celu(x, alpha=1.0, inplace=False):
    return alpha * F.elu(x * (1 / alpha))


@entry("nn.functional.gelu")
def gelu(x, approximate="none"):
    require(approximate == "none")
    return F.gelu(x)


@entry("nn.functional.softplus")
def softplus(x, beta=1, threshold=20):
    return F.where(raw(x) * beta > threshold, x, F.softplus(x * beta) * (1 / beta))


@entry("nn.functional.threshold")
def threshold(x, threshold, value):
    return F.where(x <= threshold, float(value), x)


@entry("nn.functional.softshrink")
def softshrink(x, lambd=0.5):
    shifted = F.where(x > 0, x - lambd, x + lambd)
    return F.where(F.logical_and(x >= -lambd, x <= lambd), 0.0, shifted)


@entry("nn.functional.hardshrink")
def hardshrink(x, lambd=0.5):
    return F.where(F.logical_and(x >= -lambd, x <= lambd), 0.0, x)


@entry("nn.functional.hardtanh")
def hardtanh(x, min_val=-1, max_val=1):
    return F.where(x <= min_val, float(min_val), F.where(x >= max_val, float(max_val), x))


@entry("nn.functional.relu6")
def relu6(x, inplace=False):
    return hardtanh(x, 0.0, 6.0)


@entry("nn.functional.prelu")
def prelu(x, weight):
    if not x.ndim:
        weight = weight.reshape(())
    if weight.ndim and weight.size > 1 and x.ndim > 1:
        weight = weight.reshape((-1,) + (1,) * (x.ndim - 2))
    return F.prelu(x, weight)


@entry("nn.functional.rrelu")
def rrelu(x, lower=1 / 8, upper=1 / 3, training=False):
    require(not training)
    return F.leaky_relu(x, slope=(lower + upper) / 2)


@entry("nn.functional.glu")
def glu(x, dim=-1):
    a, b = F.chunk(x, 2, dim)
    return a * F.sigmoid(b)


# Two arguments


def _signs(x):
    return np.where(raw(x) < 0, -1.0, 1.0)


def binary(function):
    return lambda a, b: function(wide(a), wide(b))


for name, function in (
    ("radd", lambda a, b: b + a),
    ("rdiv", lambda a, b: b / a),
    ("rmul", lambda a, b: b * a),
    ("rmod", lambda a, b: F.remainder(b, a)),
    ("rpow", lambda a, b: b**a),
    ("rsub", lambda a, b: b - a),
):
    ENTRIES[f"__{name}__"] = binary(function)
ENTRIES["add"] = lambda a, b, alpha=1: wide(a) + wide(b) * alpha
ENTRIES["sub"] = lambda a, b, alpha=1: wide(a) - wide(b) * alpha
ENTRIES["rsub"] = ENTRIES["__rsub__"] = lambda a, b, alpha=1: (
    require(isinstance(a, tg.Tensor)),
    wide(b) - wide(a) * alpha,
)[1]
for names, function in (
    ("mul", lambda a, b: a * b),
    ("div:no_rounding_mode true_divide", lambda a, b: a / b),
    ("floor_divide", F.floor_divide),
    ("remainder", F.remainder),
    ("fmod", lambda a, b: _signs(a) * F.remainder(_signs(a) * a, _signs(b) * b)),
    ("pow float_power", lambda a, b: a**b),
    ("atan2", F.atan2),
    (
        "hypot",
        lambda a, b: (require(not np.isinf(raw(a)).any() and not np.isinf(raw(b)).any()), F.sqrt(a * a + b * b))[1],
    ),
    ("maximum max:binary", F.maximum),
    ("minimum min:binary", F.minimum),
    ("ldexp", lambda a, b: a * 2.0**b),
    ("eq", F.equal),
    ("ne", F.not_equal),
    ("lt", F.less),
    ("le", F.less_equal),
    ("gt", F.greater),
    ("ge", F.greater_equal),
):
    for name in names.split():
        ENTRIES[name] = binary(function)


@entry("div:trunc_rounding", "div:floor_rounding")
def div(a, b, rounding_mode=None):
    return F.trunc(wide(a) / wide(b)) if rounding_mode == "trunc" else F.floor_divide(wide(a), wide(b))


def _log_sum(base):
    def function(a, b):
        scale = math.log(base)
        infinite = np.isinf(raw(a)) & (raw(a) == raw(b))
        difference = F.where(infinite, 0.0, b - a) * scale
        added = [F.where(infinite, 0.0, F.softplus(d) * (1 / scale)) for d in (difference, -difference)]
        return F.where(raw(a) >= raw(b), a + added[0], b + added[1])

    return function


ENTRIES["logaddexp"], ENTRIES["logaddexp2"] = _log_sum(math.e), _log_sum(2)
for name, function in (("and", F.logical_and), ("or", F.logical_or), ("xor", F.logical_xor)):
    ENTRIES[f"logical_{name}"] = lambda a, b, function=function: function(raw(a) != 0, raw(b) != 0)
ENTRIES["logical_not"] = lambda x: F.logical_not(raw(x) != 0)


def _ignoring_nan(function):
    def without(a, b):
        a, b = (tg.tensor(x, "float64") if not isinstance(x, tg.Tensor) else x for x in (a, b))
        require(not np.isnan(a.data).any() and not np.isnan(b.data).any())
        return function(a, b)

    return without


ENTRIES["fmax"], ENTRIES["fmin"] = _ignoring_nan(F.maximum), _ignoring_nan(F.minimum)


@entry("copysign")
def copysign(a, b):
    return F.abs(wide(a)) * np.where(np.signbit(raw(b)), -1.0, 1.0)


@entry("heaviside")
def heaviside(x, values):
    return F.where(raw(x) == 0, raw(values), (raw(x) > 0) * 1.0)


@entry("lerp")
def lerp(a, b, weight):
    return a + weight * (b - a)


@entry("addcmul")
def addcmul(x, a, b, value=1):
    return x + value * a * b


@entry("addcdiv")
def addcdiv(x, a, b, value=1):
    return x + value * a / b


def _clamp(x, min=None, max=None):
    x = wide(x)
    if min is not None:
        x = F.clip(x, float(min), None) if isinstance(min, int | float) else F.maximum(x, wide(min))
    if max is not None:
        x = F.clip(x, None, float(max)) if isinstance(max, int | float) else F.minimum(x, wide(max))
    return x


ENTRIES["clamp"] = _clamp
ENTRIES["clamp_min"] = lambda x, min: _clamp(x, min)
ENTRIES["clamp_max"] = lambda x, max: _clamp(x, None, max)


@entry("isclose", "allclose")
def isclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    require(not equal_nan)
    close = F.less_equal(F.abs(a - b), atol + rtol * F.abs(b))
    return F.logical_or(F.equal(a, b), F.logical_and(close, F.isfinite(b)))


ENTRIES["allclose"] = lambda *a, **k: F.all(isclose(*a, **k))


@entry("where")
def where(x, condition, other):
    require(isinstance(condition, np.ndarray))
    return F.where(condition, wide(x), wide(other))


@entry("dist")
def dist(a, b, p=2):
    require(p > 0)
    return F.norm(a - b, float(p))


@entry("equal")
def equal(a, b):
    require(a.shape == b.shape)
    return F.all(F.equal(a, b))


@entry("masked_fill")
def masked_fill(x, mask, value):
    value = float(value) if isinstance(value, int | float) else wide(value)
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return F.where(mask, value, x if x.shape == shape else F.broadcast_to(x, shape=shape))
