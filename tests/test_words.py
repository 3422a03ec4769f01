"""Words of PyTorch: each is answered with what to type, and what is advised exists."""

import copy
import pickle
import re

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen import nn, words
from tinygen.errors import TinygenError

X = tg.tensor(np.linspace(-1, 1, 12).reshape(3, 4))
IMAGE = tg.zeros(1, 4, 4, 2)
PARAMETER = [nn.Parameter(np.ones(2, np.float32))]


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda: X.sum(dim=1), "sum: write axis for dim"),
        (lambda: X.mean(-1, keepdim=True), "mean: write keepdims for keepdim"),
        (lambda: X.std(dim=0, keepdim=True), "std: write axis for dim and keepdims for keepdim"),
        (lambda: F.softmax(X, dim=-1), "softmax: write axis for dim"),
        (lambda: F.stack([X, X], dim=0), "stack: write axis for dim"),
        (lambda: F.any(X > 0, axis=[0, 1]), "any: write axis as a tuple"),
        (lambda: F.argmax(X, axis=(0, 1)), r"argmax: axis is one whole number, not \(0, 1\)"),
        (lambda: F.conv2d(IMAGE, tg.zeros(5, 2, 3, 3)), r"w\.transpose\(2, 3, 1, 0\) for PyTorch's"),
        (lambda: F.conv2d(tg.zeros(1, 2, 4, 4), tg.zeros(3, 3, 2, 5)), r"x\.transpose\(0, 2, 3, 1\)"),
        (lambda: X.norm(p=1), "norm: write ord for p"),
        (lambda: F.dropout(X, p=0.1), "dropout: write probability for p"),
        (lambda: X.clamp(min=0), "clamp: write low for min"),
        (lambda: X.var(unbiased=True), "ddof=1"),
        (lambda: F.leaky_relu(X, negative_slope=0.1), "leaky_relu: write slope for negative_slope"),
        (lambda: F.max_pool2d(IMAGE, kernel_size=2), "max_pool2d: write size for kernel_size"),
        (lambda: F.sum(X, foo=1), r"sum: takes \(x, axis, keepdims\); got an unexpected keyword argument 'foo'"),
        (lambda: F.embedding([0, 1], X), "embedding: takes Tensors and arrays, not list; make an array .* tg.tensor"),
        (lambda: F.cross_entropy(X, [0, 1, 2]), "cross_entropy: .* not list; make an array of it with tg.tensor"),
        (lambda: F.cross_entropy(X, np.arange(3), reduction="mean"), r"write \.mean\(\) or \.sum\(\)"),
        (lambda: F.binary_cross_entropy_with_logits(X, 1.0), "takes Tensors and arrays, not .*1.0"),
        (lambda: F.squared_error(X, 0.0), "squared_error: takes Tensors and arrays, not float"),
        (lambda: F.concatenate(X, X), r"concatenate\(\[a, b\]\)"),
        (lambda: F.pad(X, (1, 1)), r"pad: widths \(1, 1\) .* write \(\(0, 0\), \(1, 1\)\)"),
        (lambda: F.pad(X, 1), "pad: widths 1 are not one"),
        (lambda: F.layer_norm(X, (4,)), "axes=1"),
        (lambda: F.matmul(X[0], X[1]), r"\(a \* b\)\.sum\(\)"),
        (lambda: X.split(2), r"split: sizes .*\(2, 2\).*F\.chunk"),
        (lambda: X - [1, 2, 3, 4], "make an array of it with tg.tensor"),
        (lambda: X + None, "add: takes .* not None"),
        (lambda: X * np.ones(4), r'float64 \(4,\); convert one, such as the float64 with .astype\("float32"\)'),
        (lambda: X * np.arange(4), r'int64 \(4,\); convert with .astype\("float32"\)'),
        (lambda: X.size(), "write x.shape"),
        (lambda: X.size(0), r"write x\.shape\[0\]"),
        (lambda: X.backward(create_graph=True), r"tinygen\.grad\(y, x, create_graph=True\)"),
        (lambda: X.__setitem__(0, 1.0), r"F\.where"),
        (lambda: bool(X > 0), r"\.any\(\) or \.all\(\)"),
        (lambda: tg.Tensor([1.0]), r"Tensor: takes an array, not list; write tinygen\.tensor"),
        (lambda: tg.tensor([[1, 2], [3]]), "not equally long"),
        (lambda: tg.grad(X, X, grad_outputs=X), "grad: write grad_y for grad_outputs"),
        (lambda: tg.grad(outputs=X, inputs=X), "grad: write y for outputs and xs for inputs"),
        (lambda: tg.save({"a": X}, "x.safetensors"), r"save\(path, tensors\)"),
        (lambda: tg.zeros(2, size=3), "zeros: takes .*'size'"),
        (lambda: nn.ReLU(inplace=True), "ReLU: has no inplace"),
        (lambda: nn.Linear(4, 2, device="cpu"), r"Linear: takes \(in_features, out_features, bias\)"),
        (lambda: nn.LayerNorm(4, elementwise_affine=False), "LayerNorm: write affine for elementwise_affine"),
        (lambda: nn.LSTM(4, 5, batch_first=True), "batch first, always"),
        (lambda: nn.Conv2d(2), r"Conv2d: takes .*missing a required argument: 'out_channels'"),
        (lambda: tg.optim.Adam(PARAMETER, amsgrad=True), "Adam: has no amsgrad"),
        (lambda: tg.optim.SGD(PARAMETER), "SGD: takes .*missing a required argument: 'lr'"),
        (lambda: tg.distributions.Bernoulli(probs=X), "Bernoulli: has no probs; give logits"),
        (lambda: PARAMETER[0].__isub__(1.0), r"write p\.assign"),
    ],
)
def test_a_call_that_does_not_fit_is_answered_in_one_line(call, advice):
    with pytest.raises(TinygenError, match=advice) as caught:
        call()
    assert "\n" not in str(caught.value)


def optimiser():
    return tg.optim.SGD(PARAMETER, 0.1)


OWNERS = [
    (lambda: X, words.TENSOR),
    (lambda: F, words.FUNCTIONAL),
    (lambda: nn, words.LAYERS),
    (lambda: nn.init, words.INITIALISERS),
    (lambda: nn.ReLU(), words.MODULE),
    (lambda: tg.optim, words.OPTIMISERS),
    (optimiser, words.OPTIMISER),
    (lambda: tg.distributions, words.DISTRIBUTIONS),
    (lambda: tg.distributions.Normal(0.0, 1.0), words.DISTRIBUTION),
    (lambda: tg, words.PACKAGE),
    (lambda: tg.random, words.STREAMS),
]


@pytest.mark.parametrize(("owner", "table"), OWNERS)
def test_a_name_that_is_missing_is_answered_and_one_that_exists_is_not_in_the_table(owner, table):
    for name, advice in table.items():
        if table is words.TENSOR and name in F.__all__ and hasattr(tg.Tensor, name):
            continue  # functions that are methods need no advice
        with pytest.raises(AttributeError, match=re.escape(f"{name!r}: {advice}")):
            getattr(owner(), name)
    with pytest.raises(AttributeError, match=r"'no_such_name'$"):
        owner().no_such_name  # noqa: B018


def test_a_function_that_is_no_method_is_named():
    with pytest.raises(AttributeError, match=r"a Tensor has no attribute 'softmax': write F\.softmax\(x\)"):
        X.softmax(-1)
    assert not {"softmax", "view"} & {*dir(X)}


def test_what_is_advised_exists():
    homes = {"F": F, "tg": tg, "nn": nn, "x": X, "module": nn.ReLU(), "optimizer": optimiser()}
    for _, table in OWNERS:
        for advice in table.values():
            for home, path in re.findall(r"\b(F|tg|nn|x|module|optimizer)\.(\w+(?:\.\w+)*)", advice):
                value = homes[home]
                for name in path.split("."):
                    value = getattr(value, name)


def test_every_function_of_tensors_that_is_no_method_is_named():
    with pytest.raises(AttributeError, match=r"write F\.gelu\(x\)"):
        X.gelu()
    with pytest.raises(AttributeError, match=r"module 'tinygen' has no attribute 'where': write F\.where"):
        tg.where  # noqa: B018


def test_comparison_with_none_and_text_is_not_elementwise():
    assert (X == None) is False and (X != None) is True and (X == "a") is False  # noqa: E711


@pytest.mark.parametrize("name", F.__all__)
def test_functions_are_pickled_and_copied_as_themselves(name):
    function = getattr(F, name)
    assert pickle.loads(pickle.dumps(function)) is function is copy.deepcopy(function)


def test_hasattr_and_copies_work_as_without_a_table():
    assert not hasattr(X, "view") and not hasattr(nn.ReLU(), "cuda")
    assert (copy.deepcopy(X).numpy() == X.numpy()).all()
