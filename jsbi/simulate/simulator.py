"""The simulator: prior, model and instruments as one differentiable function of z."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jsbi.instrument import Folder
from jsbi.model import SpectralModel
from jsbi.model.host import HostCounts
from jsbi.simulate.noise import poisson_counts, poisson_log_likelihood
from jsbi.simulate.prior import Prior


class Simulator(eqx.Module):
    """Draws parameters and counts, and knows the likelihood that relates them.

    Several observations are a joint fit: their counts follow one another in one vector.

    Attributes:
        prior: The free parameters as functions of z ~ N(0, I).
        model: A function of the named parameters that returns a `SpectralModel`, or a
            tuple of one per folder.
        folders: One per observation.
    """

    prior: Prior
    model: Callable[..., Any]
    folders: tuple[Folder, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of fit bins of each observation."""
        return tuple(folder.bins for folder in self.folders)

    @property
    def on_host(self) -> bool:
        """Whether the host evaluates the model: slowly, and without gradients."""
        traced = jax.make_jaxpr(self.expected_counts)(jnp.zeros(self.prior.dimension))
        return "pure_callback" in str(traced)

    def expected_counts(self, z: Float[Array, " dim"]) -> Float[Array, " channel"]:
        """Model counts in all fit bins of all observations."""
        return self.fold(self.model(**self.prior(z)))

    def fold(self, model: Any) -> Float[Array, " channel"]:
        """Model counts of a spectral model, or of a tuple of one per folder."""
        models = model if isinstance(model, tuple) else (model,) * len(self.folders)
        if len(models) != len(self.folders):
            raise ValueError(
                "The model must return one spectral model, or one per observation; got "
                f"{len(models)} for {len(self.folders)} observations."
            )
        for part in models:
            if not isinstance(part, SpectralModel | HostCounts):
                raise ValueError(
                    "The model must return a spectral model, with an additive "
                    f"component; got {type(part).__name__}."
                )
        return jnp.concatenate(
            [
                part.counts(folder.bins)
                if isinstance(part, HostCounts)
                else folder(part(folder.grid))
                for folder, part in zip(self.folders, models, strict=True)
            ]
        )

    def log_prior(self, z: Float[Array, " dim"]) -> Float[Array, ""]:
        """Log density of N(0, I) at `z`."""
        return jax.scipy.stats.norm.logpdf(z).sum()

    def log_likelihood(
        self, z: Float[Array, " dim"], counts: Float[Array, " channel"]
    ) -> Float[Array, ""]:
        """Poisson log-likelihood relative to the perfect fit."""
        return poisson_log_likelihood(counts, self.expected_counts(z))

    def log_posterior(
        self, z: Float[Array, " dim"], counts: Float[Array, " channel"]
    ) -> Float[Array, ""]:
        """Log of prior times likelihood, relative to the perfect fit."""
        return self.log_prior(z) + self.log_likelihood(z, counts)

    def __call__(
        self, key: Key[Array, ""]
    ) -> tuple[Float[Array, " dim"], Float[Array, " channel"]]:
        """Draw coordinates `z` from the prior and counts at them."""
        key_z, key_counts = jax.random.split(key)
        z = jax.random.normal(key_z, (self.prior.dimension,))
        return z, poisson_counts(key_counts, self.expected_counts(z))
