"""A deep-learning engine in one file, and a variational autoencoder (VAE) that it trains.

    python examples/engine_in_one_file.py          # on the CPU, with NumPy
    python examples/engine_in_one_file.py cuda     # on a GPU, with CuPy

Read it from top to bottom: a tape, operations and their gradients, the backward pass, an optimiser, a model. This is
the idea of `tinygen`, which adds speed, checks, convolutions and many more models. It prints the negative evidence
lower bound of each epoch in nats an image, and writes samples to engine_in_one_file.png.
"""

import sys
from importlib import import_module
from importlib.resources import files
from itertools import count

import numpy as np
from PIL import Image

xp = import_module("cupy" if "cuda" in sys.argv else "numpy")  # two libraries with the same functions


# 1. The tape. A Tensor is an array that remembers the call that made it, and through its arguments the calls before.
# This record, from a result back to the parameters, is all that the chain rule needs. A plain array is a constant.
class Tensor:
    """An array, and the `call` that made it: (operation, arguments, options); None for a leaf, such as a parameter."""

    __array_ufunc__ = None  # NumPy leaves `array * tensor` to Tensor.__rmul__
    ages = count()

    def __init__(self, data, call=None):
        self.data, self.call, self.age = data, call, next(Tensor.ages)

    shape = property(lambda self: self.data.shape)
    T = property(lambda self: transpose(self))
    __add__ = __radd__ = lambda self, other: add(self, other)
    __mul__ = __rmul__ = lambda self, other: multiply(self, other)
    __neg__ = lambda self: multiply(self, -1.0)
    __sub__ = lambda self, other: add(self, -other)
    __rsub__ = lambda self, other: add(other, -self)
    __truediv__ = lambda self, other: divide(self, other)
    __matmul__ = lambda self, other: matmul(self, other)
    __rmatmul__ = lambda self, other: matmul(other, self)
    sum = lambda self: sum_to(self, shape=())


def array_of(x):
    return x.data if isinstance(x, Tensor) else x


# 2. Operations. For y = f(a, b) the chain rule turns g, the gradient of the loss for y, into the gradients for a and b:
# each is g times a Jacobian matrix. Such a vector-Jacobian product (vjp) is a short formula; no matrix is ever made.
class Operation:
    """A function of arrays, with a `vjp(g, y, *arguments, **options)` for each argument; a Tensor gives a Tensor."""

    def __init__(self, forward, *vjps):
        self.forward, self.vjps = forward, vjps

    def __call__(self, *args, **options):
        y = self.forward(*map(array_of, args), **options)
        return Tensor(y, (self, args, options)) if any(isinstance(a, Tensor) for a in args) else y


# Each vjp consists of operators and operations, so it works on arrays and on Tensors alike. On Tensors it extends the
# tape, and the gradient can be differentiated again, for derivatives of any order.

add = Operation(lambda a, b: a + b, lambda g, y, a, b: g, lambda g, y, a, b: g)
multiply = Operation(lambda a, b: a * b, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
divide = Operation(lambda a, b: a / b, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b)
matmul = Operation(lambda a, b: a @ b, lambda g, y, a, b: g @ b.T, lambda g, y, a, b: a.T @ g)
transpose = Operation(lambda x: x.T, lambda g, y, x: g.T)
exp = Operation(lambda x: xp.exp(x), lambda g, y, x: g * y)
log = Operation(lambda x: xp.log(x), lambda g, y, x: g / x)
tanh = Operation(lambda x: xp.tanh(x), lambda g, y, x: g * (1 - y * y))
sigmoid = Operation(lambda x: 0.5 + 0.5 * xp.tanh(0.5 * x), lambda g, y, x: g * y * (1 - y))
softplus = Operation(lambda x: xp.logaddexp(0, x), lambda g, y, x: g * sigmoid(x))


def sum_down(x, shape):
    """The array x summed over the axes along which an array of `shape` is copied to broadcast to x."""
    lead = x.ndim - len(shape)
    copied = [i for i in range(x.ndim) if i < lead or shape[i - lead] != x.shape[i]]
    return x.sum(axis=tuple(copied), keepdims=True).reshape(shape)


# Copying along axes and summing over them are each other's vjp.
broadcast_to = Operation(lambda x, shape: xp.broadcast_to(x, shape), lambda g, y, x, shape: sum_to(g, shape=x.shape))
sum_to = Operation(sum_down, lambda g, y, x, shape: broadcast_to(g, shape=x.shape))


# 3. The backward pass visits the youngest Tensor first. When it reaches one, it has visited all that was computed from
# it, so its gradient is complete.
def tape(y):
    """y and all Tensors that it was computed from, without the leaves, the youngest first."""
    found, waiting = {y}, [y]
    while waiting:
        for x in waiting.pop().call[1]:
            if isinstance(x, Tensor) and x.call and x not in found:
                found.add(x)
                waiting.append(x)
    return sorted(found, key=lambda x: -x.age)


def grad(y, xs, create_graph=False):
    """The gradients of y (of the sum of its elements) for each of xs, Tensors that y was computed from.

    They are arrays, or with `create_graph` Tensors, which can be differentiated again.
    """
    ones = xp.ones_like(y.data)
    grads = {y: Tensor(ones) if create_graph else ones}
    for node in tape(y):
        operation, args, options = node.call
        values = (node, *args) if create_graph else tuple(map(array_of, (node, *args)))
        for x, vjp in zip(args, operation.vjps, strict=True):
            if isinstance(x, Tensor):
                g = vjp(grads[node], *values, **options)
                g = g if g.shape == x.shape else sum_to(g, shape=x.shape)  # x was broadcast
                grads[x] = grads[x] + g if x in grads else g
    return [grads[x] for x in xs]


# 4. An optimiser
class Adam:
    """Kingma & Ba 2015, algorithm 1 (arXiv:1412.6980)."""

    def __init__(self, parameters, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        self.parameters, self.lr, self.beta1, self.beta2, self.eps, self.t = parameters, lr, beta1, beta2, eps, 0
        self.moments = [(xp.zeros_like(p.data), xp.zeros_like(p.data)) for p in parameters]

    def step(self, loss):
        self.t += 1
        for p, (m, v), g in zip(self.parameters, self.moments, grad(loss, self.parameters), strict=True):
            m += (1 - self.beta1) * (g - m)
            v += (1 - self.beta2) * (g * g - v)
            m_hat, v_hat = m / (1 - self.beta1**self.t), v / (1 - self.beta2**self.t)
            p.data -= self.lr * m_hat / (xp.sqrt(v_hat) + self.eps)


# 5. A model: the variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114)

rng = np.random.default_rng(0)
PIXELS, HIDDEN, LATENT, EPOCHS, BATCH = 784, 200, 16, 20, 100


def normal(*shape):
    return xp.asarray(rng.standard_normal(shape, np.float32))


class Linear:
    def __init__(self, inputs, outputs):
        self.weight = Tensor(normal(inputs, outputs) / inputs**0.5)
        self.bias = Tensor(xp.zeros(outputs, np.float32))

    def __call__(self, x):
        return x @ self.weight + self.bias


class VAE:
    def __init__(self):
        self.encoder, self.mean, self.log_var = Linear(PIXELS, HIDDEN), Linear(HIDDEN, LATENT), Linear(HIDDEN, LATENT)
        self.decoder, self.logits = Linear(LATENT, HIDDEN), Linear(HIDDEN, PIXELS)
        self.parameters = [p for layer in vars(self).values() for p in (layer.weight, layer.bias)]

    def decode(self, z):
        return self.logits(tanh(self.decoder(z)))

    def negative_elbo(self, x):
        """-ELBO of binary images x (N, PIXELS): cross-entropy of the reconstruction, plus KL(q(z|x) || N(0, 1))."""
        h = tanh(self.encoder(x))
        mean, log_var = self.mean(h), self.log_var(h)
        logits = self.decode(mean + exp(0.5 * log_var) * normal(*mean.shape))
        reconstruction = softplus(logits) - logits * x
        kl = 0.5 * (mean * mean + exp(log_var) - log_var - 1)
        return (reconstruction.sum() + kl.sum()) / len(x)


if __name__ == "__main__":
    x = Tensor(xp.asarray(0.5))
    y = tanh(x)
    for order in (1, 2, 3):
        (y,) = grad(y, [x], create_graph=True)
        print(f"derivative {order} of tanh at 0.5: {float(y.data):+.6f}")

    images = np.load(files("tinygen.data") / "files" / "fashion_mnist_7k.npz")["x_train"].reshape(-1, PIXELS) / 255
    model = VAE()
    adam = Adam(model.parameters, lr=2e-3)
    for epoch in range(EPOCHS):
        losses = []
        for batch in rng.permutation(len(images)).reshape(-1, BATCH):
            binary = xp.asarray(rng.random((BATCH, PIXELS)) < images[batch], np.float32)
            loss = model.negative_elbo(binary)
            adam.step(loss)
            losses.append(float(loss.data))
        print(f"epoch {epoch + 1:2}: {np.mean(losses):.2f} nats")

    samples = np.asarray(sigmoid(model.decode(normal(64, LATENT))).data.tolist())
    grid = samples.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
    Image.fromarray((255 * grid).round().astype(np.uint8)).save("engine_in_one_file.png")
