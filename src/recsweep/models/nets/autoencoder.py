"""The variational autoencoder of a history: what it is given and what it gives back are a user's
positives."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, log_softmax

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class VariationalAutoencoder(nn.Module):
    """History -> dense tanh -> mean and log variance of a latent vector -> dense tanh -> a logit
    for each item.

    D. Liang, R. Krishnan, M. Hoffman and T. Jebara, "Variational autoencoders for collaborative
    filtering", WWW 2018. 1,562,600 parameters at 1000 items and 600/200. Starts Glorot-uniform with
    biases of zero.

    Args:
        num_items: Columns of the matrix.
        hidden_dim: Width of the layer on either side of the latent vector.
        latent_dim: Length of the latent vector.
        dropout: Share of a history's entries that a training step leaves out.
        beta: Weight of the KL divergence in the end.
        anneal_steps: Training steps over which that weight rises linearly from 0; 0 has it at once.
        positives: (num_users, num_items) histories to train on; None where it is not trained.
        generator: Draws the initial weights, and in training what is left out and the noise.
    """

    def __init__(
        self,
        num_items: int,
        *,
        hidden_dim: int,
        latent_dim: int,
        dropout: float,
        beta: float,
        anneal_steps: int,
        positives: "csr_matrix | None" = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.beta, self.anneal_steps = dropout, beta, anneal_steps
        self.positives, self.generator, self.steps = positives, generator, 0
        # by item, as a history is sparse
        self.input = nn.Parameter(torch.empty(num_items, hidden_dim))
        self.input_bias = nn.Parameter(torch.empty(hidden_dim))
        self.latent = nn.Linear(hidden_dim, 2 * latent_dim)  # [mean ; log variance]
        self.hidden = nn.Linear(latent_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, num_items)
        nn.init.zeros_(self.input_bias)
        nn.init.xavier_uniform_(self.input, generator=generator)
        for layer in (self.latent, self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """What training minimises, (batch,): of each user's positives x, with x / |x| as input,

            -sum_i x_i log softmax(logits)_i + beta KL(N(mean, variance) || N(0, 1)).

        In training some of the input is left out and the latent vector is drawn; else it is the
        mean.

        Args:
            users: (batch,) rows of `positives`.
            items: Not looked at: all of a user's are meant.
        """
        assert self.positives is not None  # only what has some is trained
        histories = self.positives[users.cpu().numpy()]
        mean, log_variance = self._encoded(histories)
        latent, weight = mean, self.beta
        if self.training:
            noise = torch.randn(mean.shape, generator=self.generator).to(mean.device)
            latent = mean + noise * (log_variance / 2).exp()
            self.steps += 1
            weight *= min(1.0, self.steps / max(1, self.anneal_steps))
        logits = self._decoded(latent)
        lengths = np.diff(histories.indptr)
        rows = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(mean.device)
        entries = torch.from_numpy(histories.indices.astype(np.int64)).to(mean.device)
        likelihoods = log_softmax(logits, dim=1)[rows, entries]
        negative = mean.new_zeros(len(lengths)).index_add(0, rows, -likelihoods)
        divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=1) / 2
        return negative + weight * divergence

    @torch.no_grad()
    def score(self, histories: "csr_matrix") -> Tensor:
        """Log-probabilities (m, num_items) of each next item of histories (m, num_items), all at
        the mean of the latent vector."""
        mean, _ = self._encoded(histories)
        return log_softmax(self._decoded(mean), dim=1)

    def _encoded(self, histories: "csr_matrix") -> tuple[Tensor, Tensor]:
        """Means and log variances, (m, latent_dim) each, of histories of 1 at each positive."""
        lengths = np.diff(histories.indptr)
        values = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
        weights = torch.from_numpy(values.astype(np.float32))
        if self.training and self.dropout:
            kept = torch.rand(weights.shape, generator=self.generator) >= self.dropout
            weights = weights * kept / (1 - self.dropout)
        entries, starts = (
            torch.from_numpy(array.astype(np.int64)).to(self.input.device)
            for array in (histories.indices, histories.indptr[:-1])
        )
        weights = weights.to(self.input)
        sums = embedding_bag(entries, self.input, starts, mode="sum", per_sample_weights=weights)
        hidden = torch.tanh(sums + self.input_bias)
        mean, log_variance = self.latent(hidden).chunk(2, dim=1)
        return mean, log_variance

    def _decoded(self, latent: Tensor) -> Tensor:
        """Logits (m, num_items) of latent vectors (m, latent_dim)."""
        return self.output(torch.tanh(self.hidden(latent)))
