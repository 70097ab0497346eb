"""Marginals are exact quantile functions of z ~ N(0, 1), also far out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import log_ndtr, ndtri_exp

from jsbi.simulate import (
    LogNormal,
    LogUniform,
    Marginal,
    Normal,
    Prior,
    TruncatedNormal,
    Uniform,
    prior_from,
    truncate_normal,
)

Z = np.linspace(-8, 8, 1601)


@dataclass(frozen=True)
class Reference:
    """A marginal, SciPy's distribution, and the numbers whose sum the value is."""

    make: Callable[[], Marginal]
    distribution: Any
    size: float

    def quantile(self, z):
        """From the nearer tail, where SciPy keeps its digits."""
        if self.distribution.dist.name == "truncnorm":
            low, high, mean, sd = self.distribution.args
            return mean + sd * truncated_deviation(z, low, high)
        below = self.distribution.ppf(stats.norm.cdf(z))
        return np.where(z < 0, below, self.distribution.isf(stats.norm.sf(z)))


def truncated_deviation(z, low, high):
    """In logarithms, since `scipy.stats.truncnorm` is off by 1e-2 at z = 8."""
    below, above = (
        np.logaddexp(
            log_ndtr(sign * low) + log_ndtr(-z), log_ndtr(sign * high) + log_ndtr(z)
        )
        for sign in (1, -1)
    )
    deviation = np.where(below < above, ndtri_exp(below), -ndtri_exp(above))
    return np.clip(deviation, low, high)


def truncated(mean, sd, low, high):
    return Reference(
        lambda: TruncatedNormal(mean, sd, low, high),
        stats.truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd),
        max(np.abs([mean, low, high])),
    )


MARGINALS = {
    "uniform": Reference(lambda: Uniform(0.5, 3), stats.uniform(0.5, 2.5), 0.0),
    "uniform through 0": Reference(
        lambda: Uniform(-2.0, 1.0), stats.uniform(-2, 3), 2.0
    ),
    "log-uniform": Reference(
        lambda: LogUniform(1e-5, 1e-2), stats.loguniform(1e-5, 1e-2), 0.0
    ),
    "normal": Reference(lambda: Normal(2, 0.5), stats.norm(2, 0.5), 2.0),
    "log-normal": Reference(
        lambda: LogNormal(-1.0, 0.7), stats.lognorm(0.7, scale=np.exp(-1)), 0.0
    ),
    "truncated both ways": truncated(1.0, 0.5, 0.2, 3.0),
    "symmetric": truncated(0, 1, -2, 2),
    "half normal": truncated(0, 2, 0, 50),
    "only a tail": truncated(0, 1, 4, 9),
    "the other tail": truncated(5, 1, -9, 0),
}


@eqx.filter_jit
def many(function, z):
    return jax.vmap(function)(z)


@pytest.fixture(params=MARGINALS)
def reference(request):
    return MARGINALS[request.param]


def test_values_are_the_quantiles_of_scipy(reference):
    with jax.enable_x64(True):
        ours = many(reference.make(), jnp.asarray(Z))
    np.testing.assert_allclose(
        ours, reference.quantile(Z), rtol=1e-12, atol=1e-14 * reference.size
    )


def test_float32_is_as_good_as_its_digits(reference):
    ours = many(reference.make(), jnp.asarray(Z, jnp.float32))
    assert ours.dtype == jnp.float32
    truth = reference.quantile(Z.astype(np.float32).astype(float))
    np.testing.assert_allclose(ours, truth, rtol=1e-6, atol=3e-7 * reference.size)


def test_values_grow_with_z(reference):
    z = jnp.linspace(-8, 8, 200_001, dtype=jnp.float32)
    ours = np.asarray(many(reference.make(), z))
    digits = 3e-7 * np.maximum(np.abs(ours[1:]), reference.size)
    assert np.all(np.diff(ours) >= -digits)  # the last digits may turn back
    assert np.all(np.diff(ours[::500]) >= -digits[499::500] / 2)
    assert np.all(np.diff(ours[60_000:140_001:500]) > 0)


def test_gradients_are_those_of_the_quantiles(reference):
    z = np.array([-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0])
    with jax.enable_x64(True):
        slope = many(jax.grad(reference.make()), jnp.asarray(z))
    truth = stats.norm.pdf(z) / reference.distribution.pdf(reference.quantile(z))
    np.testing.assert_allclose(slope, truth, rtol=1e-8)


def test_gradients_are_finite_and_values_inside_far_out(reference):
    z = jnp.array([-40.0, -8.0, 0.0, 8.0, 40.0])
    value, slope = many(jax.value_and_grad(reference.make()), z)
    low, high = reference.distribution.support()
    assert np.all((np.float32(low) <= value) & (value <= np.float32(high)))
    assert np.all(np.isfinite(slope))
    assert np.all(slope >= 0)


@pytest.mark.parametrize("z", [2.0, 5.0, 8.0])
def test_distances_to_an_edge_at_zero_keep_their_digits_in_float32(z):
    tail = stats.norm.sf(np.float64(np.float32(z)))
    low = Uniform(0.0, 3.0)(jnp.float32(-z))
    high = Uniform(-3.0, 0.0)(jnp.float32(z))
    np.testing.assert_allclose(low, 3 * tail, rtol=2e-5)
    np.testing.assert_allclose(high, -3 * tail, rtol=2e-5)


@pytest.mark.parametrize("low", [-np.inf, -30.0, -2.0, 0.0, 3.0, 7.0])
@pytest.mark.parametrize("width", [0.01, 1.0, 40.0])
def test_truncate_normal_is_that_of_scipy(low, width):
    high = (low if np.isfinite(low) else -1.0) + width
    with jax.enable_x64(True):
        limits = (jnp.full(len(Z), limit) for limit in (low, high))
        ours = np.asarray(jax.jit(truncate_normal)(jnp.asarray(Z), *limits))
    assert np.all((ours >= low) & (ours <= high))
    truth = truncated_deviation(Z, low, high)
    np.testing.assert_allclose(ours, truth, rtol=1e-11, atol=1e-13)
    middle = np.abs(Z) < 1
    scipy = stats.truncnorm(low, high).ppf(stats.norm.cdf(Z[middle]))
    np.testing.assert_allclose(ours[middle], scipy, rtol=1e-9, atol=1e-11)


def test_draws_from_the_prior_follow_it(reference):
    z = jax.random.normal(jax.random.key(1), (20_000,))
    draws = np.asarray(many(reference.make(), z), float)
    assert stats.kstest(draws, reference.distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(2, 1), "uniform prior needs low < high; got 2, 1"),
        (lambda: Uniform(1.0, 1.0), "uniform prior needs low < high; got 1, 1"),
        (lambda: Uniform(np.nan, 1.0), "`low` must be finite; got nan"),
        (lambda: Uniform(0.0, np.inf), "`high` must be finite; got inf"),
        (lambda: Uniform(True, 2.0), "`low` must be a number; got True"),
        (lambda: LogUniform(0.0, 1.0), "needs low > 0; got 0.*smallest value"),
        (lambda: LogUniform(-1.0, 1.0), "needs low > 0; got -1"),
        (lambda: LogUniform(2.0, 1.0), "log-uniform prior needs low < high; got 2, 1"),
        (lambda: Normal(0.0, 0.0), "standard deviation must be positive; got 0"),
        (lambda: Normal(np.nan, 1.0), "`mean` must be finite"),
        (lambda: LogNormal(0.0, -1.0), "standard deviation must be positive; got -1"),
        (lambda: LogNormal(np.inf, 1.0), "`mean_ln` must be finite"),
        (lambda: TruncatedNormal(0, 1, 2, 1), "needs low < high; got 2, 1"),
        (lambda: TruncatedNormal(0, -1, 1, 2), "deviation must be positive; got -1"),
        (
            lambda: TruncatedNormal(0, 1, 9, 10),
            "9 to 10 lies over 8 standard deviations from 0 .*same unit",
        ),
        (lambda: TruncatedNormal(0, 1, -10, -9), "over 8 standard deviations"),
    ],
)
def test_impossible_marginals_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_free_parameters_keep_their_order_and_fixed_and_tied_ones_follow():
    prior = Prior(
        {
            "b.norm": "2*a.norm",
            "z": Uniform(0.0, 1.0),
            "fixed": 3,
            "a.norm": LogUniform(1.0, 2.0),
            "same": "z",
            "negative": " -1.5e-1 * fixed ",
        }
    )
    assert prior.names == ("z", "a.norm")
    assert prior.dimension == 2
    assert prior.all_names == ("z", "a.norm", "fixed", "b.norm", "same", "negative")
    z = jnp.array([0.3, -0.7])
    values = prior(z)
    assert set(values) == set(prior.all_names)
    np.testing.assert_array_equal(prior.free(z), [values["z"], values["a.norm"]])
    np.testing.assert_array_equal(values["z"], Uniform(0.0, 1.0)(z[0]))
    assert values["fixed"] == 3
    assert values["same"] == values["z"]
    np.testing.assert_allclose(values["b.norm"], 2 * values["a.norm"], rtol=1e-7)
    np.testing.assert_allclose(values["negative"], -0.45, rtol=1e-7)


def test_ties_carry_the_gradient_of_what_they_are_tied_to():
    prior = Prior({"a": Normal(0.0, 2.0), "b": "3*a"})
    slope = jax.grad(lambda z: prior(z)["b"])(jnp.zeros(1))
    np.testing.assert_allclose(slope, [6.0], rtol=1e-6)


def test_numbers_of_numpy_are_numbers():
    prior = Prior({"a": Normal(0.0, 1.0), "b": np.float32(2), "c": np.int64(3)})
    values = prior(jnp.zeros(1))
    assert (values["b"], values["c"]) == (2, 3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"a": "b", "bb": Uniform(0.0, 1.0)},
            "'a' is tied to 'b', .*Did you mean 'bb'",
        ),
        ({"a": "b", "b": "c", "c": 1.0}, "'a' is tied to 'b', which is itself tied"),
        ({"a": "a", "b": Uniform(0.0, 1.0)}, "'a' is tied to 'a'"),
        ({"a": "2*", "b": Uniform(0.0, 1.0)}, "Cannot read the tie 'a' = '2\\*'"),
        ({"a": "b+1", "b": Uniform(0.0, 1.0)}, "tied to 'b\\+1'"),
        ({"a": "x*b", "b": Uniform(0.0, 1.0)}, "Cannot read the tie 'a' = 'x\\*b'"),
        ({"a": "e*b", "b": Uniform(0.0, 1.0)}, "Cannot read the tie 'a' = 'e\\*b'"),
        ({"a": "2*b*c", "b": Uniform(0.0, 1.0)}, "Cannot read the tie"),
        ({"a": "", "b": Uniform(0.0, 1.0)}, "Cannot read the tie 'a' = ''"),
        ({"a": 1.0, "b": "a"}, "at least one free parameter; all of a, b are fixed"),
        ({}, "at least one free parameter; all of none"),
        ({"a": np.nan}, "prior of 'a' must be finite; got nan"),
        ({"a": [0, 1]}, "prior of 'a' must be a number; got"),
        ({"a": None}, "prior of 'a' must be a number; got None"),
        ({"a": True}, "prior of 'a' must be a number; got True"),
    ],
)
def test_what_is_no_prior_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        Prior(parameters)


def test_a_table_gives_the_same_prior_again():
    parameters = {
        "tied": "2.5e-3*c.norm",
        "same": "a",
        "a": Uniform(0.1, 3),
        "fixed": 7,
        "small": 1e-30,
        "b": LogUniform(1e-5, 1e-2),
        "c.norm": Normal(2, 0.5),
        "d": TruncatedNormal(1, 0.5, 0.2, 3.0),
        "e": LogNormal(-1.0, 0.7),
    }
    prior = Prior(parameters)
    text = json.dumps(prior.table())
    again = prior_from(json.loads(text))
    assert again.names == prior.names == ("a", "b", "c.norm", "d", "e")
    assert set(again.all_names) == set(parameters)
    assert again.table() == prior.table()
    for z in np.linspace(-4, 4, 5):
        before, after = (each(jnp.full(5, z)) for each in (prior, again))
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, rtol=3e-7, atol=1e-37)


class Cauchy(Marginal):
    """A prior that files know nothing of."""

    def __call__(self, z):
        return jnp.tan(z)


def test_a_prior_of_another_kind_is_in_no_table():
    prior = Prior({"a": Uniform(0.0, 1.0), "b": Cauchy()})
    with pytest.raises(ValueError, match="prior of 'b' must be one of uniform.*Cauchy"):
        prior.table()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "prior of 'a' must be a number"),
        (True, "prior of 'a' must be a number"),
        ([0.0, 1.0], "prior of 'a' must be a number"),
        ({}, "prior of 'a' must be a number"),
        ({"uniform": [0, 1], "normal": [0, 1]}, "prior of 'a' must be a number"),
        ({"unifrom": [0, 1]}, "Unknown prior 'unifrom' of 'a'.*Did you mean 'uniform'"),
        (
            {"uniform": [0, 1, 2]},
            r"uniform of 'a' needs \[low, high\]; got \[0, 1, 2\]",
        ),
        ({"uniform": 1}, r"uniform of 'a' needs \[low, high\]; got 1"),
        ({"normal": [0, 0]}, "prior of 'a': The standard deviation must be positive"),
        ({"uniform": [1, 0]}, "prior of 'a': A uniform prior needs low < high"),
        ("b", "'a' is tied to 'b', which has no prior"),
    ],
)
def test_tables_that_describe_no_prior_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        prior_from({"a": value, "c": {"normal": [0, 1]}})
