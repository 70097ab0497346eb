"""Best fits with two kinds of errors: of the curvature, and of the profile.

These are statements about the likelihood alone: the priors only say where parameters
may lie. Between its ends a prior has no weight here, other than in a posterior.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jsbi.baseline.likelihood import REACH, fit_likelihood, information_at, inverse
from jsbi.baseline.optimize import find_modes
from jsbi.simulate import Target

EXPANSIONS = 16  # doublings of the first step, in search of an end
REFINEMENTS = 24
CLOSE = 0.01  # of the rise of the C statistic at an end, as a part of it
NARROW = 1e-3  # of the distance to an end, within which it is known well enough
NEWS = 0.05  # fall of the C statistic that is another best fit
RESTARTS = 4


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BestFits:
    """Maxima of the likelihood within the priors' ends, best first.

    Attributes:
        names: The free parameters.
        values: Where the maxima are, in physical units, [mode, dim].
        fisher: Standard errors from the Fisher information there, [mode, dim]; inf
            where the data do not know a parameter.
        cstat: C statistic, [mode].
        hits: How many starts ended in each, [mode].
        starts: How many starts there were.
        low: Where the C statistic, at its least over all other parameters, has risen by
            `delta` below the best fit; the prior's end if it has not; nan if the
            search did not find it, or found a better fit once too often, [dim].
        high: The same above, [dim].
        pegged: Whether `low` and `high` are the prior's ends, [dim, 2].
        delta: The rise: 1 for 68.3 %, 2.706 for 90 %.
        z: Coordinates of the maxima in which the prior is N(0, I), [mode, dim].
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "mode dim"]
    fisher: Float[np.ndarray, "mode dim"]
    cstat: Float[np.ndarray, " mode"]
    hits: Int[np.ndarray, " mode"]
    starts: int
    low: Float[np.ndarray, " dim"]
    high: Float[np.ndarray, " dim"]
    pegged: Bool[np.ndarray, "dim 2"]
    delta: float
    z: Float[np.ndarray, "mode dim"]

    def __str__(self) -> str:
        width = max(map(len, (*self.names, "parameter")))
        titles = ("best fit", "fisher", "low", "high", "minus", "plus")
        lines = [f"{'parameter':<{width}}" + "".join(f"{t:>11}" for t in titles)]
        for i, name in enumerate(self.names):
            best, low, high = self.values[0, i], self.low[i], self.high[i]
            row = (best, self.fisher[0, i], low, high, low - best, high - best)
            ends = [
                e for e, at in zip(("low", "high"), self.pegged[i], strict=True) if at
            ]
            note = f"  pegged: {', '.join(ends)}" if ends else ""
            lines.append(
                f"{name:<{width}}" + "".join(f"{x:>11.4g}" for x in row) + note
            )
        lines.append(
            f"C-stat {self.cstat[0]:.2f}, errors where it has risen by {self.delta:g}; "
            f"{self.hits[0]} of {self.starts} fits ended there"
        )
        lines += [
            f"another maximum: C-stat {c:.2f}, {h} fits, at "
            + ", ".join(f"{n} {v:.4g}" for n, v in zip(self.names, at, strict=True))
            for c, h, at in zip(
                self.cstat[1:], self.hits[1:], self.values[1:], strict=True
            )
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"BestFits({', '.join(self.names)}; {len(self.cstat)} modes, C-stat "
            f"{self.cstat[0]:.2f})"
        )


def find_best_fits(
    key: Key[Array, ""], target: Target, *, delta: float = 1.0, starts: int = 32
) -> BestFits:
    """Fit from many starts, and follow the profile of every parameter to its ends.

    All 2 dim searches run side by side; the other parameters are fitted again at every
    trial, from where they were last and from where the covariance expects them. A
    better fit that turns up on the way is the new centre. Maxima are looked for from
    the modes of the posterior.

    Args:
        key: Random key.
        target: The posterior density, of which only the likelihood is used.
        delta: Rise of the C statistic at the ends.
        starts: Starts in each wave of the search for modes, at least 8.

    Raises:
        ValueError: If `delta` is not positive, or the likelihood zero everywhere.

    Source: Lampton, Margon & Bowyer (1976), ApJ 208, 177; Cash (1979), ApJ 228, 939.
    """
    if not delta > 0:
        raise ValueError(f"`delta`, the rise of the C statistic, must be > 0: {delta}.")
    modes = find_modes(key, target, starts)
    z, cstat = fit_likelihood(target, modes.z, np.ones(modes.z.shape, bool))
    z, cstat, hits = _distinct(target, z, cstat, modes.hits)
    ends = np.empty((target.dimension, 2))
    for _ in range(RESTARTS):
        ends, better = _profile(target, z[0], cstat[0], delta)
        if better is None:
            break
        more, least = fit_likelihood(
            target, better[None], np.ones((1, target.dimension), bool)
        )
        z, cstat = np.concatenate([more, z]), np.concatenate([least, cstat])
        hits = np.concatenate([[0], hits])
        z, cstat, hits = _distinct(target, z, cstat, hits)
    information, stretch = information_at(target, z)
    low, high = (_one_by_one(target, z[0], side) for side in ends.T)
    return BestFits(
        names=target.simulator.prior.names,
        values=target.physical(z),
        fisher=np.sqrt(np.array([np.diag(inverse(each)) for each in information]))
        * stretch,
        cstat=cstat,
        hits=hits,
        starts=modes.starts,
        low=low,
        high=high,
        pegged=np.abs(ends) >= REACH,
        delta=delta,
        z=z,
    )


def _one_by_one(target: Target, z: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Each parameter at its own end, in physical units."""
    moved = np.tile(z, (len(z), 1))
    np.fill_diagonal(moved, ends)
    return np.diag(target.physical(moved)).copy()


def _distinct(
    target: Target, z: np.ndarray, cstat: np.ndarray, hits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best first, without those that lie within 3 widths of a better one.

    Returns: Coordinates, C statistics and hits, of which a mode takes those it absorbs.
    """
    order = np.argsort(cstat, kind="stable")
    z, cstat, hits = z[order], cstat[order], hits[order].copy()
    information, _ = information_at(target, z)
    kept: list[int] = []
    for row in range(len(z)):
        for mode in kept:
            apart = z[row] - z[mode]
            if apart @ information[mode] @ apart < 4 + len(apart):
                hits[mode] += hits[row]
                break
        else:
            kept.append(row)
    return z[kept], cstat[kept], hits[kept]


def _profile(
    target: Target, best: np.ndarray, least: float, delta: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Where the profile of each parameter has risen by `delta`, on either side.

    Returns: The ends in z, [dim, 2], nan where they were not found; and a point that is
        better than the best fit, if there is one, at which the search has ended.
    """
    search = _Search.begin(target, best, least, delta)
    for step in range(EXPANSIONS + REFINEMENTS):
        if search.finished.all():
            break
        trial = search.trial(bisect=bool(step % 3 == 2))
        z, cstat = search.fit(trial)
        if cstat.min() < least - NEWS:
            return np.full((len(best), 2), np.nan), z[np.argmin(cstat)]
        search.learn(trial, z, cstat - least)
    return search.ends(), None


@dataclasses.dataclass
class _Search:
    """The searches for all ends, side by side; lower ends first, [2 dim].

    Attributes:
        target: Gives the likelihood.
        best: The best fit.
        delta: The rise at an end.
        side: -1 for lower ends, 1 for upper ones.
        place: Which parameter each search is for.
        drift: How the others follow a parameter, [2 dim, dim].
        step: The next step outwards.
        near: The farthest value that has not risen so much, and its rise.
        far: The nearest that has; nan before there is one.
        fitted: The fit of all parameters at `near`.
    """

    target: Target
    best: np.ndarray
    delta: float
    side: np.ndarray
    place: np.ndarray
    drift: np.ndarray
    step: np.ndarray
    near: np.ndarray
    near_rise: np.ndarray
    far: np.ndarray
    far_rise: np.ndarray
    fitted: np.ndarray

    @staticmethod
    def begin(
        target: Target, best: np.ndarray, least: float, delta: float
    ) -> "_Search":
        """From the best fit, in steps of its local widths."""
        dimension = len(best)
        information, _ = information_at(target, best[None])
        covariance = inverse(information[0])
        finite = np.where(np.isfinite(covariance), covariance, 0.0)
        variance = np.diag(covariance)
        width = np.sqrt(delta * variance)
        drift = finite / np.where(np.isfinite(variance), variance, 1.0)[:, None]
        np.fill_diagonal(drift, 1.0)
        place = np.tile(np.arange(dimension), 2)
        nowhere = np.full(2 * dimension, np.nan)
        return _Search(
            target=target,
            best=best,
            delta=delta,
            side=np.repeat([-1.0, 1.0], dimension),
            place=place,
            drift=drift[place],
            step=np.clip(width, 1e-4, 1.0)[place],
            near=best[place],
            near_rise=np.zeros(2 * dimension),
            far=nowhere,
            far_rise=nowhere.copy(),
            fitted=np.tile(best, (2 * dimension, 1)),
        )

    @property
    def pegged(self) -> np.ndarray:
        """Whether the profile has not risen where the prior ends."""
        return np.isnan(self.far) & (self.side * self.near >= REACH)

    @property
    def finished(self) -> np.ndarray:
        """Whether each end is known."""
        off = np.abs(self.far_rise - self.delta)
        # Where float32 cannot tell two values apart there is nothing left to refine.
        # A profile may also jump.
        reach = np.abs(self.far - self.best[self.place])
        narrow = np.abs(self.far - self.near) < 1e-6 + NARROW * reach
        return self.pegged | (off < CLOSE * self.delta) | narrow

    def trial(self, *, bisect: bool) -> np.ndarray:
        """The next value of each parameter: outwards, or where the end should be."""
        outwards = np.clip(self.near + self.side * self.step, -REACH, REACH)
        part = 0.5 if bisect else np.clip(self._part(), 0.02, 0.98)
        between = self.near + part * (self.far - self.near)
        return np.where(np.isnan(self.far), outwards, between)

    def fit(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fit the other parameters with each at its value, from two starts.

        Returns: The better of the two: all coordinates and the C statistic.
        """
        rows = np.arange(len(value))
        before = self.fitted.copy()
        moved = value - self.best[self.place]
        expected = np.clip(self.best + self.drift * moved[:, None], -REACH, REACH)
        starts = np.concatenate([before, expected])
        both, place = np.tile(rows, 2), np.tile(self.place, 2)
        starts[np.arange(len(both)), place] = np.tile(value, 2)
        free = np.ones(starts.shape, bool)
        free[np.arange(len(both)), place] = False
        z, cstat = fit_likelihood(self.target, starts, free)
        z, cstat = z.reshape(2, len(rows), -1), cstat.reshape(2, -1)
        better = np.argmin(cstat, 0)
        return z[better, rows], cstat[better, rows]

    def learn(self, value: np.ndarray, z: np.ndarray, rise: np.ndarray) -> None:
        """Narrow every search by what was found at its trial."""
        over = rise >= self.delta
        self.far = np.where(over, value, self.far)
        self.far_rise = np.where(over, rise, self.far_rise)
        self.near = np.where(over, self.near, value)
        self.near_rise = np.where(over, self.near_rise, rise)
        self.fitted = np.where(over[:, None], self.fitted, z)
        self.step = 2 * self.step

    def ends(self) -> np.ndarray:
        """Lower and upper end of each parameter, nan if not known, [dim, 2]."""
        end = self.near + np.clip(self._part(), 0, 1) * (self.far - self.near)
        end = np.where(self.pegged, self.near, end)
        return np.where(self.finished, end, np.nan).reshape(2, -1).T

    def _part(self) -> np.ndarray:
        """Where between `near` and `far` the rise should be `delta`.

        The root of the rise is nearly straight.
        """
        near, far = (np.sqrt(np.maximum(r, 0)) for r in (self.near_rise, self.far_rise))
        return (math.sqrt(self.delta) - near) / np.maximum(far - near, 1e-12)
