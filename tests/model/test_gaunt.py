"""Gaunt factors against the published formulae."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import k0e

from jsbi.instrument import EnergyGrid
from jsbi.model.additive.bremsstrahlung import (
    Bremsstrahlung,
    RedshiftedBremsstrahlung,
    VariableBremsstrahlung,
)
from jsbi.model.additive.gaunt import born_gaunt, gaunt_factor, gaunt_over_born


def ours(temperature, charge, reduced):
    with jax.enable_x64(True):
        ratio = gaunt_over_born(jnp.asarray(temperature), charge)
        return np.asarray(gaunt_factor(ratio, jnp.asarray(reduced)))


def test_born_approximation_is_a_bessel_function():
    reduced = np.geomspace(1e-6, 1e4, 300)
    with jax.enable_x64(True):
        born = born_gaunt(jnp.asarray(reduced))
    np.testing.assert_allclose(born, 0.5513 * k0e(reduced / 2), rtol=3e-7)


@pytest.mark.slow
def test_hot_gas_has_the_gaunt_factor_of_the_born_approximation():
    reduced = np.geomspace(1e-3, 30, 30)
    truth = 0.5513 * k0e(reduced / 2)
    np.testing.assert_allclose(ours(20.0, 1, reduced), truth, rtol=3e-7)


@pytest.mark.parametrize(
    ("reduced", "constants"),
    [
        (0.1, (1.004, 0.4891, -0.6852)),
        (0.6, (1.042, 0.1764, -0.0643)),
        (2.0, (1.1, 0.05914, -0.005857)),
        (9.0, (1.193, 0.01407, -0.00042)),
    ],
)
def test_gaunt_factor_is_that_of_the_polynomials(reduced, constants):
    ratio = np.polyval(constants[::-1], reduced)
    value = ours(1.358, 1, [reduced])[0] / (0.5513 * k0e(reduced / 2))
    assert value == pytest.approx(ratio, rel=2e-3)


def test_gaunt_factor_of_helium_is_that_of_hydrogen_at_a_quarter_of_the_temperature():
    reduced = np.geomspace(1e-3, 30, 30)
    np.testing.assert_allclose(ours(2.0, 2, reduced), ours(0.5, 1, reduced), rtol=1e-12)


@pytest.mark.slow
def test_gaunt_factor_of_cool_gas_is_that_of_the_table():
    at_nodes = ours(0.01358, 1, [1e-2, 1.0, 10.0])
    np.testing.assert_allclose(at_nodes, [2.65, 1.32, 0.97], rtol=1e-5)


def test_polynomials_and_table_agree_where_they_meet():
    reduced = np.geomspace(1e-3, 30, 30)
    hot, cool = ours(0.13585, 1, reduced), ours(0.13575, 1, reduced)
    np.testing.assert_allclose(hot, cool, rtol=2.6e-2)


@pytest.mark.slow
def test_warm_bremsstrahlung_is_that_of_xspec(test_data):
    for component in (Bremsstrahlung, RedshiftedBremsstrahlung, VariableBremsstrahlung):
        name = component.xspec_name
        with np.load(test_data(f"../reference/xspec/{name}.npz")) as file:
            for case, truth in zip(file["params"], file["flux64_log"], strict=True):
                if case[0] < 1:
                    continue
                with jax.enable_x64(True):
                    model = component(*case.tolist())
                    flux = np.asarray(model(EnergyGrid(file["energies_log"])))
                seen = truth > 1e-6 * truth.max()
                # The polynomials of XSPEC jump between ranges of energy.
                np.testing.assert_allclose(flux[seen], truth[seen], rtol=3.5e-3)
