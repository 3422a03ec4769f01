"""The model of the VAE benchmarks in plain PyTorch."""

import torch
from torch.nn import Linear, Module, ReLU, Sequential
from torch.nn.functional import binary_cross_entropy_with_logits


class VAE(Module):
    """784-400-20, ReLU, a Bernoulli decoder and the analytic KL, as in the default `tinygen.models.VAE`."""

    def __init__(self, pixels: int = 784, hidden: int = 400, latent: int = 20):
        super().__init__()
        self.latent = latent
        self.encoder = Sequential(Linear(pixels, hidden), ReLU(), Linear(hidden, 2 * latent))
        self.decoder = Sequential(Linear(latent, hidden), ReLU(), Linear(hidden, pixels))

    def copy_from(self, model) -> "VAE":
        """Copy the parameters of our model, whose weights are (in, out); return self."""
        with torch.no_grad():
            for mine, theirs in zip(self.parameters(), model.parameters(), strict=True):
                mine.copy_(torch.from_numpy(theirs.numpy().T))
        return self

    def neg_elbo(self, x, noise):
        """Negative ELBO in nats an example, for x (N, pixels) in {0, 1} and noise (N, latent)."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        logits = self.decoder(mean + torch.exp(0.5 * log_var) * noise)
        reconstruction = binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
        return (reconstruction + kl) / len(x)

    def training_step(self, optimizer, x, noise):
        """Make one update and return the loss before it."""
        optimizer.zero_grad(set_to_none=True)
        loss = self.neg_elbo(x, noise)
        loss.backward()
        optimizer.step()
        return loss.detach()
