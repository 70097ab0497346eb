import jax
import numpy as np
import pytest

from jsbi.api import make_target
from jsbi.diagnose.predictive import predictive_checks
from jsbi.plot.predictive import predictive


@pytest.fixture(scope="module", params=[1, 2])
def case(request, posterior, observation, model, prior):
    observations = (observation,) * request.param
    target = make_target(observations, model, prior)
    return target, posterior, observations


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_panels_show_bands_probabilities_and_cumulative_residuals(case, known):
    target, posterior, observations = case
    checks = predictive_checks(
        jax.random.key(0),
        target,
        posterior,
        observations=observations if known else (),
        bands=5,
        draws=20,
    )
    figure = predictive(checks)
    bands, below, residual = figure.axes
    points = np.concatenate([line.get_ydata() for line in bands.lines[2::2]])
    assert len(points) == 5 * len(observations)
    np.testing.assert_allclose(points, checks.bands.pull)
    curve = below.lines[-1]
    np.testing.assert_allclose(curve.get_xdata(), np.sort(checks.below))
    ends = [line.get_ydata()[-1] for line in residual.lines[: len(observations)]]
    np.testing.assert_allclose(ends, 0, atol=1e-9)
    assert f"{checks.runs} runs" in bands.get_title()
    assert bands.get_xlabel() == ("Energy [keV]" if known else "Band")
    figure.draw_without_rendering()
