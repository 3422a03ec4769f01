"""A sentence VAE, whole: data, model, annealed loss and loop (Bowman et al. 2016, arXiv:1511.06349).

    python examples/sentence_vae.py             # sentences of a small grammar
    python examples/sentence_vae.py my.txt      # your own, one sentence a line

It prints the negative evidence lower bound in nats a sentence, and writes sentences on lines between the codes of two
sentences to sentence_vae.txt.
"""

import sys
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

EMBEDDED, HIDDEN, LATENT, HIDE, ANNEALING, EPOCHS, BATCH = 32, 64, 8, 0.5, 1000, 4, 64


class SentenceVAE(nn.Module):
    def __init__(self, words, length):
        self.start = self.end = words  # numbers after those of the words
        self.hidden_word, self.length = words + 1, length
        self.embedding = nn.Embedding(words + 2, EMBEDDED)
        self.encoder = nn.LSTM(EMBEDDED, HIDDEN)
        self.to_code = nn.Linear(HIDDEN, 2 * LATENT)
        self.decoder = nn.LSTM(EMBEDDED + LATENT, HIDDEN)
        self.output = nn.Linear(HIDDEN, words + 1)

    def encode(self, x):
        """Means and log variances (N, LATENT) of the codes of sentences: from the state after their ends."""
        states, _ = self.encoder(self.embedding(self.ended(x)))
        return F.split(self.to_code(states[np.arange(len(x)), x.length]), sizes=(LATENT, LATENT), axis=1)

    def ended(self, x):
        """The words (N, T + 1), each sentence with its end; after it there are zeros."""
        words = np.pad(x.values, ((0, 0), (0, 1)))
        words[np.arange(len(x)), x.length] = self.end
        return words

    def logits(self, read, z, state=None):
        """For each next word, after the words (N, T) were read; and the state of the decoder."""
        codes = F.broadcast_to(z[:, None], shape=(*read.shape, LATENT))
        states, state = self.decoder(F.concatenate([self.embedding(read), codes], axis=2), state)
        return self.output(states), state

    def negative_elbo(self, x, hide):
        """Reconstruction and KL terms of sentences: two arrays (N,), in nats. A share `hide` of the words is hidden."""
        mean, log_var = self.encode(x)
        z = F.reparameterize(mean, log_var, tg.random.stream("train").normal(mean.shape))
        target = self.ended(x)
        read = np.concatenate([np.full((len(x), 1), self.start), target[:, :-1]], axis=1)
        hidden = tg.random.stream("train").uniform(read.shape) < hide
        logits, _ = self.logits(np.where(hidden, self.hidden_word, read), z)
        counts = np.arange(target.shape[1]) <= x.length[:, None]  # the words and the end, not the padding
        reconstruction = (F.cross_entropy(logits, target) * counts.astype(np.float32)).sum(axis=1)
        return reconstruction, F.gaussian_kl(mean, log_var).sum(axis=1)

    def decode(self, z):
        """The most probable words one after another (N, T), -1 after the end."""
        read, state, words = np.full((len(z), 1), self.start), None, []
        for _ in range(self.length):
            logits, state = self.logits(read, z, state)
            read = logits.numpy().argmax(axis=2)
            words.append(read[:, 0])
        words = np.stack(words, axis=1)
        return np.where(np.logical_or.accumulate(words == self.end, axis=1), -1, words)


tg.seed(0)
own = {"fields": {"x": ":words"}, "vocabulary": 5000, "length": 20} if len(sys.argv) > 1 else {}
data = tg.data.load(sys.argv[1] if own else "sentences", **own)
field = data.spec.x
loader = tg.data.Loader(data.train, BATCH, seed=0)
model = SentenceVAE(len(field.vocabulary), field.length)
optimizer = tg.optim.Adam(model, 3e-3)
weight_of_kl = tg.optim.logistic(0.0, 1.0, ANNEALING)
print(model.summary())

for epoch in range(EPOCHS):
    for step in range(loader.steps_per_epoch):
        reconstruction, kl = model.negative_elbo(next(loader).x, HIDE)
        optimizer.step((reconstruction + weight_of_kl(epoch * loader.steps_per_epoch + step) * kl).mean())
    with tg.no_grad():
        reconstruction, kl = (term.mean().item() for term in model.negative_elbo(data.valid.values("x"), 0.0))
    print(f"epoch {epoch + 1:2}: {reconstruction + kl:.2f} nats = {reconstruction:.2f} reconstruction + {kl:.2f} KL")

with tg.no_grad():
    x = data.valid.take(10).values("x")
    codes = model.encode(x)[0].numpy()
    share = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    lines = []
    for i in range(0, 10, 2):
        between = model.decode((1 - share) * codes[i] + share * codes[i + 1])
        lines += [field.draw(x[i]), *(f"    {field.draw(words)}" for words in between), field.draw(x[i + 1]), ""]
Path("sentence_vae.txt").write_text("\n".join(lines), encoding="utf-8")
