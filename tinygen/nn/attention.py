"""Attention as a layer."""

from tinygen import functional as F
from tinygen.errors import ShapeError, UsageError
from tinygen.nn.layers import Linear
from tinygen.nn.module import Module


class MultiheadAttention(Module):
    """Attention in several `heads`, each on its own part of the features (Vaswani et al. 2017, section 3.2.2).

    `attention(query, key, value)` of (N, T, features) and twice (N, S, features) is (N, T, features); key and value are
    the query where they are left out, which is self-attention. `mask` and `causal` are those of
    `functional.scaled_dot_product_attention`, the mask broadcast to (N, heads, T, S). Weights are not returned.
    """

    def __init__(self, features: int, heads: int, bias: bool = True):
        if heads < 1 or features % heads:
            raise UsageError(f"MultiheadAttention: {features} features cannot be cut into {heads} heads")
        self.heads = heads
        self.query, self.key, self.value, self.output = (Linear(features, features, bias) for _ in range(4))

    def forward(self, query, key=None, value=None, mask=None, *, causal: bool = False):
        key = query if key is None else key
        value = key if value is None else value
        shapes = query.shape, key.shape, value.shape
        if any(len(shape) != 3 for shape in shapes):
            raise ShapeError(f"MultiheadAttention: takes (N, T, features) each, not {', '.join(map(str, shapes))}")
        heads = self._cut(self.query(query)), self._cut(self.key(key)), self._cut(self.value(value))
        y = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], mask, causal=causal)
        return self.output(y.transpose((0, 2, 1, 3)).reshape(query.shape))

    def _cut(self, x):
        """(N, T, features) as (N, heads, T, features / heads)."""
        n, steps, features = x.shape
        return x.reshape((n, steps, self.heads, features // self.heads)).transpose((0, 2, 1, 3))
