"""Contours that hold 68 and 95 % of weighted draws."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from scipy.ndimage import gaussian_filter

LEVELS = (0.68, 0.95)
GRID = 80  # bins of each axis
Density = tuple[
    Float[np.ndarray, "grid grid"],
    Float[np.ndarray, "grid grid"],
    Float[np.ndarray, "grid grid"],
]


def weight_density(
    pair: Float[np.ndarray, "two draw"],
    weights: Float[np.ndarray, " draw"],
    effective: float,
) -> Density | None:
    """Smoothed weights of two parameters on a grid along their principal axes.

    A grid that follows the correlation keeps narrow ridges narrow.

    Returns: Both coordinates and the weights, or None if a parameter is constant.
    """
    kept = weights > 1e-12 * weights.max()
    pair, weights = pair[:, kept], weights[kept]
    mean = pair @ weights
    covariance = np.cov(pair, aweights=weights, ddof=0)
    deviation = np.sqrt(np.diag(covariance))
    if not (deviation > 1e-12 * np.abs(mean)).all():
        return None
    covariance += np.diag(1e-6 * deviation**2)  # lest one draw hold all the weight
    root = np.linalg.cholesky(covariance)
    white = np.linalg.solve(root, pair - mean[:, None])
    edges = [np.linspace(*_reach(axis, weights), GRID + 1) for axis in white]
    density, *_ = np.histogram2d(*white, bins=edges, weights=weights)
    steps = [edge[1] - edge[0] for edge in edges]
    # Somewhat below Scott's rule, which is for a normal density.
    width = 0.8 * max(effective, 1.0) ** (-1 / 6)
    density = gaussian_filter(
        density, [width / step for step in steps], mode="constant"
    )
    middle = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    mesh = np.stack(np.meshgrid(*middle, indexing="ij"))
    x, y = np.einsum("ij,jkl->ikl", root, mesh) + mean[:, None, None]
    return x, y, density


def _reach(
    values: Float[np.ndarray, " draw"], weights: Float[np.ndarray, " draw"]
) -> tuple[float, float]:
    """Limits that hold nearly all of the weight, with room for the smoothing."""
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    low, high = np.interp([5e-4, 1 - 5e-4], below, values[order])
    return low - 1.0, high + 1.0


def draw_contours(
    axes: Axes, density: Density, scales: tuple[str, str], color: str, *, filled: bool
) -> None:
    """Draw the lines that enclose `LEVELS` of the weight.

    Args:
        axes: Where.
        density: From `weight_density`.
        scales: "log" where a coordinate is the logarithm of what is shown.
        color: Of the lines; fillings are lighter.
        filled: Whether to fill.
    """
    x, y, weight = density
    x, y = (np.exp(v) if s == "log" else v for v, s in zip((x, y), scales, strict=True))
    ordered = np.sort(weight, axis=None)[::-1]
    inside = np.searchsorted(np.cumsum(ordered) / ordered.sum(), LEVELS)
    low, high = ordered[inside[1]], ordered[inside[0]]
    if not low < high < ordered[0]:
        return
    if filled:
        shades = [to_rgba(color, alpha) for alpha in (0.25, 0.6)]
        axes.contourf(x, y, weight, [low, high, ordered[0]], colors=shades)
    axes.contour(x, y, weight, [low, high], colors=[color], linewidths=1.0)
