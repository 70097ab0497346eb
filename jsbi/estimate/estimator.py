"""The neural posterior: an ensemble of compressors with conditional flows."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.distributions import AbstractDistribution
from jaxtyping import Array, Float, Key
from paramax import unwrap

from jsbi.compress import Compressor
from jsbi.estimate.frame import Frame
from jsbi.estimate.restrict import Region
from jsbi.promotion import lenient_promotion


class FlowProposal(eqx.Module):
    """The estimator at one observation: an equal mixture of flows, as a density over z.

    Attributes:
        flow: Densities of whitened coordinates given a summary; arrays lead with the
            member's axis.
        summary: The observation's summary by each member.
        region: The whitening.
    """

    flow: AbstractDistribution
    summary: Float[Array, "member feature"]
    region: Region

    @property
    def members(self) -> int:
        """How many flows there are."""
        return self.summary.shape[0]

    def log_members(self, z: Float[Array, " dim"]) -> Float[Array, " member"]:
        """Log density of every member."""
        region, summary = jax.lax.stop_gradient((self.region, self.summary))
        white = region.whiten(z)
        with lenient_promotion():
            log_prob = eqx.filter_vmap(lambda flow, of: flow.log_prob(white, of))(
                self.flow, summary
            )
        return log_prob - region.log_det()

    def log_prob(self, z: Float[Array, " dim"]) -> Float[Array, ""]:
        """Log density of the mixture."""
        return jax.nn.logsumexp(self.log_members(z)) - math.log(self.members)

    def sample(self, key: Key[Array, ""], number: int) -> Float[Array, "number dim"]:
        """Draw, in turn from one member after another."""
        each = -(-number // self.members)
        keys = jax.random.split(key, self.members)
        with lenient_promotion():
            white = eqx.filter_vmap(
                lambda flow, of, key: flow.sample(key, (each,), of)
            )(self.flow, self.summary, keys)
        white = jnp.swapaxes(white, 0, 1).reshape(-1, white.shape[-1])
        return jax.vmap(self.region.colour)(white[:number])

    def _first(self) -> tuple[AbstractDistribution, Float[Array, " feature"]]:
        """The first member and its summary."""
        flow = jax.tree.map(
            lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, self.flow
        )
        return unwrap(flow), self.summary[0]

    def sample_base(
        self, key: Key[Array, ""], number: int
    ) -> Float[Array, "number dim"]:
        """Draw base coordinates of the first member."""
        flow: Any = self._first()[0]
        with lenient_promotion():
            return flow.base_dist.sample(key, (number,))

    def base(self, z: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """Base coordinates of the first member at `z`."""
        flow: Any
        flow, summary = self._first()
        with lenient_promotion():
            return flow.bijection.inverse(self.region.whiten(z), summary)

    def transport(
        self, base: Float[Array, " dim"]
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """Map the first member's base coordinates to z, with the log determinant."""
        flow: Any
        flow, summary = self._first()
        with lenient_promotion():
            white, log_det = flow.bijection.transform_and_log_det(base, summary)
        return self.region.colour(white), log_det + self.region.log_det()

    def disagreement(self, key: Key[Array, ""], number: int) -> Float[Array, ""]:
        """How much the members tell apart: Jensen-Shannon divergence [nat].

        Zero where all are the same, `ln(members)` where none overlap.

        Args:
            key: Random key.
            number: Draws to estimate it from.

        Source: Lin (1991), IEEE Trans. Information Theory 37, 145.
        """
        number = -(-number // self.members) * self.members
        log_members = jax.vmap(self.log_members)(self.sample(key, number))
        drawn_by = jnp.arange(number) % self.members
        own = jnp.take_along_axis(log_members, drawn_by[:, None], axis=1)[:, 0]
        mixture = jax.nn.logsumexp(log_members, axis=1) - math.log(self.members)
        return (own - mixture).mean()


class PosteriorEstimator(eqx.Module):
    """q(z | counts): the mixture of an ensemble of networks trained side by side.

    Attributes:
        compressor: Counts to summary; arrays lead with the member's axis.
        flow: Density of the whitened coordinates given the summary, the context and the
            frame's description; likewise.
        frame: What whitens; not trained itself.
        members: How many networks there are.
    """

    compressor: Compressor
    flow: AbstractDistribution
    frame: Frame
    members: int = eqx.field(static=True)

    def at(
        self,
        counts: Float[Array, " channel"],
        context: Float[Array, " context"] | None = None,
    ) -> FlowProposal:
        """The posterior at one observation.

        Args:
            counts: Counts in all fit bins.
            context: What else is known of the observation; None for nothing.
        """
        if context is None:
            context = jnp.zeros(0, counts.dtype)
        region = self.frame(counts, context)
        beside = jnp.concatenate([context, self.frame.describe(region)])
        return FlowProposal(self.flow, self.summaries(counts, beside), region)

    def summaries(
        self, counts: Float[Array, " channel"], beside: Float[Array, " beside"]
    ) -> Float[Array, "member feature"]:
        """What the flow of each member is conditioned on."""
        summary = eqx.filter_vmap(lambda compressor: compressor(counts))(
            self.compressor
        )
        beside = jnp.broadcast_to(beside, (self.members, len(beside)))
        return jnp.concatenate([summary, beside], axis=1)

    def log_prob(
        self,
        z: Float[Array, " dim"],
        counts: Float[Array, " channel"],
        context: Float[Array, " context"] | None = None,
    ) -> Float[Array, ""]:
        """Log density of `z` given the counts."""
        return self.at(counts, context).log_prob(z)
