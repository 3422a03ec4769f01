"""The words of PyTorch: what to type here for them, and errors of one line that say so.

The words of this package are NumPy's (`axis`, `keepdims`). A name that does not exist is looked up in a table here, by
the `__getattr__` of what it was asked of; a call that does not fit its signature, by `explained` or `misfit`.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tinygen.errors import ArgumentError

KEYWORDS = {
    "affine": "scale",
    "alpha": "slope",
    "approximate": "gelu is exact, with the normal distribution function",
    "amsgrad": "this variant is not implemented",
    "batch_first": "sequences are (N, T, C), batch first, always",
    "bidirectional": "run a second layer over F.flip(x, axis=1), and join the two with F.concatenate",
    "correction": "ddof",
    "create_graph": "write tinygen.grad(y, x, create_graph=True)",
    "dim": "axis",
    "dims": "axes",
    "dim0": "write transpose(*axes) with every axis",
    "elementwise_affine": "affine",
    "embedding_dim": "features",
    "grad_outputs": "grad_y",
    "gradient": "grad",
    "hidden_size": "hidden_features",
    "inplace": "nothing works in place: use the result",
    "input_size": "in_features",
    "inputs": "xs",
    "is_causal": "causal",
    "keepdim": "keepdims",
    "kernel_size": "size",
    "loc": "mean",
    "max": "high",
    "min": "low",
    "negative_slope": "slope",
    "normalized_shape": "features",
    "num_channels": "features",
    "num_classes": "classes",
    "num_embeddings": "classes",
    "num_features": "features",
    "num_groups": "groups",
    "num_heads": "heads",
    "num_layers": "stack several layers one on another",
    "out": "the result is returned",
    "output_size": "size",
    "outputs": "y",
    "p": "probability|ord",
    "padding_mode": "pad first, with F.pad(x, widths, mode=...)",
    "params": "parameters",
    "probs": "give logits = log(p) - log(1 - p)",
    "reduction": "losses are elementwise: write .mean() or .sum() behind the call",
    "scale": "std",
    "scale_factor": "factor",
    "start_dim": "start",
    "track_running_stats": "running statistics are always kept; use F.batch_norm without them",
    "unbiased": "write ddof=1 for the unbiased variance",
}
"""Keyword of PyTorch -> the keyword here, several with a | between them, or a sentence."""


def missing(owner: str, name: str, table: Mapping[str, str]) -> AttributeError:
    """The error for a name that `owner` does not have, with what the table says about it."""
    advice = table.get(name)
    return AttributeError(f"{owner} has no attribute {name!r}" + (f": {advice}" if advice else ""))


class Elsewhere:
    """An attribute that raises the error of `missing`, for a class whose attributes must be fast.

    A `__getattr__` of the class would make each access to its attributes about 20 ns slower.
    """

    def __init__(self, owner: str, name: str, table: Mapping[str, str]):
        self.arguments = owner, name, table

    def __get__(self, instance, owner):
        raise missing(*self.arguments)


def misfit(name: str, own: Iterable[str], given: Iterable[str], reason: str) -> ArgumentError:
    """The error for a call with `given` keywords of something that has its `own` arguments; `reason` is Python's."""
    own = list(own)
    unknown = [word for word in given if word not in own]
    renamed = [f"{here} for {word}" for word in unknown for here in KEYWORDS.get(word, "").split("|") if here in own]
    if renamed:
        return ArgumentError(f"{name}: write {' and '.join(renamed)}")
    for word in unknown:
        if " " in KEYWORDS.get(word, ""):
            return ArgumentError(f"{name}: has no {word}; {KEYWORDS[word]}")
    return ArgumentError(f"{name}: takes ({', '.join(own)}); {reason}")


def problem_of_call(name: str, signature: inspect.Signature, args, kwargs, error=None) -> ArgumentError | None:
    """What is wrong with a call: arguments that do not fit, or one of a wrong kind, of which `error` complains."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as mismatch:
        return misfit(name, signature.parameters, kwargs, str(mismatch))
    if isinstance(error, AttributeError):
        for value in (*args, *kwargs.values()):
            if error.obj is value and isinstance(value, list | tuple | int | float | str | None):
                return ArgumentError(f"{name}: takes Tensors and arrays, not {in_words(value)}")
    return None


def in_words(value) -> str:
    """The kind of an argument that is no array, and how to make one of it."""
    advice = "; make an array of it with tg.tensor" if isinstance(value, list | tuple) else ""
    return f"{'None' if value is None else type(value).__name__}{advice}"


def explained(function: Callable, name: str | None = None) -> Callable:
    """The function; a call that does not fit it raises ArgumentError, with the word that fits."""
    name, signature = name or function.__name__, None

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            nonlocal signature
            signature = signature or inspect.signature(function)
            problem = problem_of_call(name, signature, args, kwargs, error)
            if problem is None:
                raise
            raise problem from None

    return call


class Explained:
    """The base of classes that answer a constructor's misfit, and a name that they lack, with what to write."""

    other_words: ClassVar[Mapping[str, str]] = {}
    """Attribute of PyTorch's -> what to write."""

    def __new__(cls, *args, **kwargs):
        if args or kwargs:
            problem = problem_of_call(cls.__name__, _signature(cls), args, kwargs)
            if problem is not None:
                raise problem
        return super().__new__(cls)

    if not TYPE_CHECKING:  # for a type checker, names that do not exist are errors

        def __getattr__(self, name: str):
            raise missing(f"{type(self).__name__!r} object", name, self.other_words)


@functools.cache
def _signature(cls: type) -> inspect.Signature:
    """What a class is called with."""
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return inspect.Signature()
    return inspect.Signature(list(inspect.signature(cls.__init__).parameters.values())[1:])  # type: ignore[misc]


def _on_tensors(names: str, advice: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), advice)


IN_PLACE = "nothing works in place: write x = x + y, or x.assign(values) for a leaf"

TENSOR: dict[str, Any] = {
    "view": "write x.reshape(shape)",
    "view_as": "write x.reshape(y.shape)",
    "t": "write x.T",
    "mT": "write F.swapaxes(x, -1, -2)",
    "numel": "write x.size",
    "nelement": "write x.size",
    "dim": "write x.ndim",
    "contiguous": "leave it out: every Tensor can be used as it is",
    "clone": "leave it out: operations never change a Tensor; for a new leaf write tg.tensor(x.numpy().copy())",
    "float": 'write x.astype("float32")',
    "double": 'write x.astype("float64")',
    "half": 'floats are float32 or float64: write x.astype("float32")',
    "bfloat16": 'floats are float32 or float64: write x.astype("float32")',
    "long": 'write x.astype("int64")',
    "int": 'write x.astype("int64")',
    "bool": "write x != 0",
    "type": "write x.astype(dtype)",
    "cpu": 'write x.to("cpu")',
    "cuda": 'write x.to("cuda")',
    "tolist": "write x.numpy().tolist()",
    "gather": "write F.take_along_axis(x, indices, axis=1)",
    "index_select": "write x[:, indices]",
    "masked_select": "write x[mask]",
    "nonzero": "write np.argwhere(x.numpy())",
    "scatter_": "write F.put_along_axis(x, indices, values, axis=1)",
    "scatter_add": "write F.scatter_add(x, indices, values, axis=1)",
    "pow": "write x ** 2",
    "mm": "write x @ y",
    "bmm": "write x @ y",
    "mv": "write (x @ y[:, None])[:, 0]",
    "addmm": "write x + a @ b",
    "dot": "write (x * y).sum()",
    "matmul": "write x @ y",
    "add": "write x + y",
    "sub": "write x - y",
    "mul": "write x * y",
    "div": "write x / y",
    "neg": "write -x",
    "eq": "write x == y",
    "ne": "write x != y",
    "lt": "write x < y",
    "le": "write x <= y",
    "gt": "write x > y",
    "ge": "write x >= y",
    "arctan": "write x.atan()",
    "arcsin": "write x.asin()",
    "arccos": "write x.acos()",
    "amax": "write x.max(axis)",
    "amin": "write x.min(axis)",
    "requires_grad_": "write tg.tensor(values, requires_grad=True), or x.requires_grad = True for a leaf",
    "retain_grad": "write tg.grad(y, [x]), which gives the gradient of any Tensor",
    "register_hook": "write tg.grad(y, [x]), which gives the gradient of any Tensor",
    "is_leaf": "write x.edge is None",
    "grad_fn": "write x.edge",
    "type_as": "write x.astype(y.dtype)",
    "expand_as": "write F.broadcast_to(x, y.shape)",
    "narrow": "write x[:, start : start + length]",
    "new_zeros": "write tg.zeros(shape)",
    "is_cuda": 'write x.device == "cuda"',
    "tile": "write x.repeat(*times), or F.tile",
    "rsqrt": "write 1 / x.sqrt()",
    "reciprocal": "write 1 / x",
} | _on_tensors(
    "add_ sub_ mul_ div_ zero_ fill_ copy_ clamp_ exp_ sigmoid_ tanh_ relu_ normal_ uniform_ detach_ unsqueeze_ "
    "squeeze_ pow_ sqrt_ neg_ masked_fill_",
    IN_PLACE,
)
"""Attribute of a Tensor of PyTorch -> what to write."""

FUNCTIONAL = {
    "cat": "write F.concatenate(tensors, axis)",
    "mse_loss": "write F.squared_error(x, y).mean()",
    "l1_loss": "write F.absolute_error(x, y).mean()",
    "smooth_l1_loss": "write F.huber(x, y).mean()",
    "huber_loss": "write F.huber(x, y).mean()",
    "nll_loss": "write F.cross_entropy(logits, target), which takes logits, or -F.take_along_axis(log_p, ...)",
    "kl_div": "write F.exp(y) * (y - x), or kl of a distribution",
    "mm": "write a @ b",
    "bmm": "write a @ b",
    "pow": "write x ** y",
    "upsample": "write F.interpolate(x, size) or F.upsample_nearest2d(x, factor)",
    "gather": "write F.take_along_axis(x, indices, axis)",
    "logsigmoid": "write -F.softplus(-x)",
    "arctan": "write F.atan(x)",
    "arcsin": "write F.asin(x)",
    "arccos": "write F.acos(x)",
    "hardtanh": "write F.clip(x, -1, 1)",
    "relu6": "write F.clip(x, 0, 6)",
    "rsqrt": "write 1 / F.sqrt(x)",
    "zeros_like": "write tg.zeros_like(x)",
    "ones_like": "write tg.ones_like(x)",
}

LAYERS = {
    "functional": "write tinygen.functional, usually imported as F",
    "BatchNorm1d": "write nn.BatchNorm(features), for any number of axes",
    "BatchNorm2d": "write nn.BatchNorm(features), for any number of axes",
    "BatchNorm3d": "write nn.BatchNorm(features), for any number of axes",
    "InstanceNorm1d": "write nn.InstanceNorm(features), for any number of axes",
    "InstanceNorm2d": "write nn.InstanceNorm(features), for any number of axes",
    "RMSprop": "write tg.optim.RMSProp",
    "Softmax": "write F.softmax(x, axis=-1)",
    "LogSoftmax": "write F.log_softmax(x, axis=-1)",
    "ModuleList": "write a list: modules in lists, tuples and dicts are found",
    "ModuleDict": "write a dict: modules in lists, tuples and dicts are found",
    "ParameterList": "write a list: parameters in lists, tuples and dicts are found",
    "ParameterDict": "write a dict: parameters in lists, tuples and dicts are found",
    "Upsample": 'write nn.Upsample2d(factor, mode="nearest"), or F.interpolate(x, size)',
    "Unflatten": "write nn.Reshape(*shape)",
    "ZeroPad2d": "write F.pad(x, widths)",
    "Hardtanh": "write F.clip(x, -1, 1)",
    "ReLU6": "write F.clip(x, 0, 6)",
    "SELU": "write 1.0507 * F.elu(x, alpha=1.67326)",
    "RNN": "write nn.LSTM or nn.GRU",
    "MSELoss": "losses are functions: write F.squared_error(x, y).mean()",
    "L1Loss": "losses are functions: write F.absolute_error(x, y).mean()",
    "SmoothL1Loss": "losses are functions: write F.huber(x, y).mean()",
    "BCELoss": "losses are functions: write F.binary_cross_entropy(p, target).mean()",
    "BCEWithLogitsLoss": "losses are functions: write F.binary_cross_entropy_with_logits(x, target).mean()",
    "CrossEntropyLoss": "losses are functions: write F.cross_entropy(logits, target).mean()",
    "NLLLoss": "losses are functions: write F.cross_entropy(logits, target).mean()",
    "KLDivLoss": "write F.exp(y) * (y - x), or kl of a distribution",
    "utils": "clip gradients with the optimiser's clip_norm; nn.SpectralNorm and nn.WeightNorm are layers",
}

INITIALISERS = {
    "xavier_uniform_": "write layer.weight.assign(nn.init.glorot_uniform(layer.weight.shape))",
    "xavier_normal_": "write layer.weight.assign(nn.init.glorot_normal(layer.weight.shape))",
    "kaiming_uniform_": "write layer.weight.assign(nn.init.he_uniform(layer.weight.shape))",
    "kaiming_normal_": "write layer.weight.assign(nn.init.he_normal(layer.weight.shape))",
    "orthogonal_": "write layer.weight.assign(nn.init.orthogonal(layer.weight.shape))",
    "normal_": "write layer.weight.assign(nn.init.normal(layer.weight.shape, std))",
    "uniform_": "write layer.weight.assign(nn.init.uniform(layer.weight.shape, bound))",
    "zeros_": "write layer.weight.assign(0)",
    "ones_": "write layer.weight.assign(1)",
    "constant_": "write layer.weight.assign(value)",
}

MODULE = {
    "zero_grad": "leave it out: optimizer.step(loss) computes gradients of its own",
    "cuda": 'write module.to("cuda")',
    "cpu": 'write module.to("cpu")',
    "double": 'write module.astype("float64")',
    "float": 'write module.astype("float32")',
    "half": 'floats are float32 or float64: write module.astype("float32")',
    "apply": "write a loop: for m in module.modules()",
    "register_buffer": "assign a NumPy array: self.name = array",
    "register_parameter": "assign a Parameter: self.name = nn.Parameter(values)",
    "add_module": "assign the module: self.name = module",
    "append": "make the list of layers first, then nn.Sequential(*layers)",
    "requires_grad_": "write module.requires_grad(value)",
    "named_modules": "write module.modules() or module.children()",
    "named_children": "write module.children()",
    "buffers": "write module.state_dict(), where they stand beside the parameters",
    "state_dict_type": "write module.state_dict()",
}

OPTIMISERS = {
    "RMSprop": "write tg.optim.RMSProp",
    "lr_scheduler": "a learning rate may be a function of the step: lr=tg.optim.cosine(...)",
    "NAdam": "write tg.optim.AdamW",
    "Adamax": "write tg.optim.AdamW",
    "swa_utils": "write tg.optim.EMA(module)",
}

OPTIMISER = {
    "zero_grad": "leave it out: optimizer.step(loss) computes gradients of its own, and step() clears them",
    "param_groups": "write optimizer.lr = value, or optimizer.groups[0]['lr'] = value for a group",
}

DISTRIBUTIONS = {
    "kl_divergence": "write p.kl(q)",
    "Independent": "write log_prob(x).sum(axis)",
}

DISTRIBUTION = {"rsample": "write sample(), which is differentiable where it can be"}

PACKAGE = {
    "cat": "write F.concatenate(tensors, axis), with tinygen.functional as F",
    "manual_seed": "write tg.seed(value)",
    "from_numpy": "write tg.tensor(array)",
    "as_tensor": "write tg.tensor(array)",
    "empty": "write tg.zeros(shape)",
    "float32": 'dtypes are those of NumPy: write "float32"',
    "float64": 'dtypes are those of NumPy: write "float64"',
    "int64": 'dtypes are those of NumPy: write "int64"',
    "long": 'dtypes are those of NumPy: write "int64"',
    "bool": 'dtypes are those of NumPy: write "bool"',
    "cuda": 'write x.to("cuda"), and tg.backend.gpu_problem() for why there is none',
    "device": 'devices are "cpu" and "cuda"',
    "jacobian": "write tg.grad(y[i], x, retain_graph=True) for each row",
    "vmap": "operations take stacks of arrays: write the axis out",
    "no_grad_": "write tg.no_grad()",
    "inference_mode": "write tg.no_grad()",
    "compile": "write tg.capture(step), on a GPU",
    "randperm": 'write tg.random.stream("train").permutation(n)',
    "randint": 'write tg.random.stream("train").integers(high, shape)',
    "normal": "write mean + std * tg.randn(*shape)",
    "linalg": "write F.inv, F.cholesky, F.slogdet and others, with tinygen.functional as F",
}

STREAMS = {
    "normal": 'write tg.random.stream("train").normal(shape), or tg.randn(*shape)',
    "uniform": 'write tg.random.stream("train").uniform(shape), or tg.rand(*shape)',
    "randn": "write tg.randn(*shape)",
    "rand": "write tg.rand(*shape)",
    "default_rng": "write tg.random.Stream(seed, name)",
}
