"""Host models give the numbers of the function, each once, and no gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.api import infer, make_target, simulate
from jsbi.correct import Training
from jsbi.demo import make_example
from jsbi.fluxes import flux
from jsbi.instrument import EnergyGrid
from jsbi.model import PowerLaw, TBabs
from jsbi.model.host import HostModel
from jsbi.simulate import LogUniform, Prior, Uniform


def power_law(edges, index, norm):
    """Of numpy alone, as another code would give it."""
    slope = 1 - index
    return norm * np.diff(edges**slope) / slope


def counts(a, b):
    return np.array([10 + a, 20 + b, 30 + a * b])


def broken(edges, index):
    return np.ones(3)


EDGES = np.geomspace(0.3, 10.0, 101)
ROWS = jnp.asarray([[1.5, 1.0], [2.5, 3.0], [1.5, 1.0], [1.2, 0.5]])


class Counted:
    """A function that knows how often it was called; workers cannot import it."""

    def __init__(self):
        self.calls = 0

    def __call__(self, edges, index, norm):
        self.calls += 1
        return power_law(edges, index, norm)


def spectra(model, rows=ROWS, edges=EDGES):
    grid = EnergyGrid(edges)
    return jax.jit(jax.vmap(lambda row: model(index=row[0], norm=row[1])(grid)))(rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_spectra_are_those_of_the_function(workers):
    made = spectra(HostModel(power_law, workers=workers, progress=False))
    truth = [power_law(EDGES, *row) for row in ROWS.tolist()]
    np.testing.assert_allclose(made, truth, rtol=1e-5)


def test_edges_of_narrow_bins_keep_their_digits():
    edges = 7.0 + 5e-4 * np.arange(101)
    made = spectra(HostModel(power_law, progress=False), ROWS[:1], edges)
    np.testing.assert_allclose(made[0], power_law(edges, 1.5, 1.0), rtol=1e-5)


def test_it_is_part_of_the_algebra():
    grid = EnergyGrid(EDGES)
    model = HostModel(power_law, progress=False)
    absorbed = TBabs(0.3) * (model(index=2.0, norm=1.0) + PowerLaw(1.0, 0.1))
    truth = TBabs(0.3) * (PowerLaw(2.0, 1.0) + PowerLaw(1.0, 0.1))
    np.testing.assert_allclose(
        jax.jit(lambda: absorbed(grid))(), truth(grid), rtol=1e-5
    )


def test_no_spectrum_is_made_twice(tmp_path):
    function = Counted()
    first = spectra(HostModel(function, store=tmp_path, progress=False))
    assert function.calls == 3
    again = HostModel(function, store=tmp_path, progress=False)
    np.testing.assert_array_equal(spectra(again), first)
    assert function.calls == 3
    more = jnp.concatenate([ROWS, ROWS + 0.25])
    np.testing.assert_array_equal(spectra(again, more)[:4], first)
    assert function.calls == 6
    # Another grid is another spectrum.
    spectra(again, ROWS, EDGES[:50])
    assert function.calls == 9


def test_a_store_that_was_interrupted_loses_the_last_part_only(tmp_path):
    function = Counted()
    spectra(HostModel(function, store=tmp_path, progress=False))
    (values,) = tmp_path.glob("*/values-*.npy")
    values.unlink()
    spectra(HostModel(function, store=tmp_path, progress=False))
    assert function.calls == 6


def test_each_redshift_has_its_own_grid():
    model = HostModel(power_law, progress=False)
    grid = EnergyGrid(EDGES)

    def shifted(z):
        return model(index=2.0, norm=1.0)(grid.shifted(z))

    made = jax.vmap(shifted)(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(made[1], made[0] / 2, rtol=1e-5)


def test_gradients_are_refused_in_words():
    model = HostModel(power_law, progress=False)
    grid = EnergyGrid(EDGES)
    with pytest.raises(ValueError, match="no gradient"):
        jax.grad(lambda index: model(index=index, norm=1.0)(grid).sum())(2.0)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return make_example(tmp_path_factory.mktemp("example"))[0]


PRIOR = Prior({"index": Uniform(1.0, 3.0), "norm": LogUniform(1e-3, 1e3)})


@pytest.mark.parametrize("method", ["nuts", "mixture", "smc", "transported"])
def test_methods_that_need_gradients_say_so(example, method):
    model = HostModel(power_law, progress=False)
    with pytest.raises(ValueError, match="no gradients.*sbi"):
        infer(jax.random.key(0), example, model, PRIOR, method=method, progress=False)


def test_parameters_are_those_of_the_function(example):
    model = HostModel(power_law, progress=False)
    prior = Prior({"index": Uniform(1.0, 3.0), "nrom": 1.0})
    with pytest.raises(ValueError, match="'nrom'.*'norm'"):
        infer(jax.random.key(0), example, model, prior, progress=False)
    with pytest.raises(ValueError, match="takes index, norm"):
        model(index=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gives": "flux"}, "'photons' or 'counts'"),
        ({"workers": -1}, "not be negative"),
    ],
)
def test_wrong_choices_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HostModel(power_law, **arguments)


def test_a_function_without_parameters_is_refused():
    with pytest.raises(ValueError, match="named parameters"):
        HostModel(lambda edges: edges)


def test_workers_need_a_function_that_can_be_imported():
    model = HostModel(lambda edges, index, norm: edges[1:], workers=2, progress=False)
    rows, edges = np.ones((2, 2), np.float32), EDGES
    rows[1] = 2
    with pytest.raises(ValueError, match="A lambda"):
        model.evaluate(rows, edges, 100)


def test_spectra_of_another_length_are_refused():
    model = HostModel(broken, progress=False)
    with pytest.raises(ValueError, match="100 bins; got shape \\(3,\\)"):
        model.evaluate(np.ones((1, 1), np.float32), EDGES, 100)


def test_bars_are_drawn_when_asked_for(capsys):
    spectra(HostModel(power_law, progress=True))
    assert "host model" in capsys.readouterr().err


@pytest.mark.slow
def test_the_posterior_is_that_of_the_same_model_on_the_device(example, reused_keys):
    observation = simulate(
        jax.random.key(1),
        example,
        lambda index, norm: PowerLaw(index, norm),
        {"index": 1.9, "norm": 0.1},
    )
    host = HostModel(power_law, progress=False)
    arguments = {"draws": 3000, "progress": False}
    ours = infer(jax.random.key(2), observation, host, PRIOR, method="sbi", **arguments)
    truth = infer(
        jax.random.key(3),
        observation,
        lambda index, norm: PowerLaw(index, norm),
        PRIOR,
        method="mixture",
        **arguments,
    )
    assert ours.report.verdict == "trusted"
    assert np.all(np.abs(ours.mean() - truth.mean()) < 0.08 * truth.sd())
    np.testing.assert_allclose(ours.sd(), truth.sd(), rtol=0.06)
    assert abs(ours.log_evidence - truth.log_evidence) < 0.05
    found = flux(ours, host, PRIOR, (1.0, 2.0))
    other = flux(truth, lambda index, norm: PowerLaw(index, norm), PRIOR, (1.0, 2.0))
    assert found.summary()["energy"]["mean"] == pytest.approx(
        other.summary()["energy"]["mean"], rel=0.01
    )
    with pytest.raises(ValueError, match="'rounds'"):
        infer(
            jax.random.key(2),
            observation,
            host,
            PRIOR,
            method="sbi",
            training=Training(restriction="rounds"),
            progress=False,
        )


def test_counts_may_come_folded(example):
    scale = np.linspace(1.0, 2.0, example.bins)

    def folded(level):
        return level * scale

    model = HostModel(folded, gives="counts")
    prior = Prior({"level": Uniform(50.0, 150.0)})
    target = make_target((example,), model, prior)
    np.testing.assert_allclose(target.expected_counts(np.zeros(1)), 100 * scale)
    with pytest.raises(ValueError, match="all channels.*HostCounts"):
        simulate(jax.random.key(0), example, model, {"level": 100.0})
