"""The neural posterior: a compressor followed by a conditional flow."""

import equinox as eqx
import jax
from flowjax.distributions import AbstractDistribution
from jaxtyping import Array, Float, Key

from jsbi.compress import Compressor
from jsbi.estimate.restrict import Region
from jsbi.promotion import lenient_promotion


class PosteriorEstimator(eqx.Module):
    """q(z | counts), over the coordinates in which the training region is N(0, I).

    Attributes:
        compressor: Counts to summary.
        flow: Density of the whitened coordinates given the summary.
        region: Where the training simulations were drawn; not trained itself.
    """

    compressor: Compressor
    flow: AbstractDistribution
    region: Region

    def log_prob(
        self, z: Float[Array, " dim"], counts: Float[Array, " channel"]
    ) -> Float[Array, ""]:
        """Log density of `z` given the counts."""
        region = jax.lax.stop_gradient(self.region)
        with lenient_promotion():
            white = self.flow.log_prob(region.whiten(z), self.compressor(counts))
        return white - region.log_det()

    def sample_and_log_prob(
        self, key: Key[Array, ""], counts: Float[Array, " channel"], draws: int
    ) -> tuple[Float[Array, "draw dim"], Float[Array, " draw"]]:
        """Draw from q(z | counts), with the log density of each draw."""
        with lenient_promotion():
            white, log_prob = self.flow.sample_and_log_prob(
                key, (draws,), self.compressor(counts)
            )
        z = jax.vmap(self.region.colour)(white)
        return z, log_prob - self.region.log_det()
