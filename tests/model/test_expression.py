"""Expressions mean what XSPEC's mean, and faults are named with their place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.instrument import EnergyGrid
from jsbi.model import (
    BlackBodyRad,
    Constant,
    Gaussian,
    GaussianSmoothing,
    Phabs,
    PowerLaw,
    SpectralModel,
    TBabs,
    evaluate,
    spectral_model,
)

EDGES = np.geomspace(0.3, 10.0, 101)
EVERYTHING = {
    "tbabs.nH": 0.3,
    "phabs.nH": 0.1,
    "powerlaw.PhoIndex": 1.7,
    "powerlaw.norm": 2.0,
    "powerlaw_2.PhoIndex": 2.5,
    "powerlaw_2.norm": 0.5,
    "bbodyrad.kT": 0.6,
    "bbodyrad.norm": 40.0,
    "constant.factor": 0.8,
}


def flux(expression):
    """The expression with those of the parameters above that it has."""
    known = spectral_model(expression).parameters
    return evaluate(
        expression, {k: v for k, v in EVERYTHING.items() if k in known}, EDGES
    )


def of(component, **values):
    return np.asarray(component(**values)(EnergyGrid(EDGES)))


TBABS = of(TBabs, nH=0.3)
PHABS = of(Phabs, nH=0.1)
POWER = of(PowerLaw, photon_index=1.7, norm=2.0)
POWER_2 = of(PowerLaw, photon_index=2.5, norm=0.5)
BODY = of(BlackBodyRad, kT=0.6, norm=40.0)
FACTOR = of(Constant, factor=0.8)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("powerlaw", POWER),
        ("tbabs", TBABS),
        ("(((powerlaw)))", POWER),
        ("tbabs*powerlaw + bbodyrad", TBABS * POWER + BODY),
        ("bbodyrad + tbabs*powerlaw", TBABS * POWER + BODY),
        ("tbabs*(powerlaw + bbodyrad)", TBABS * (POWER + BODY)),
        ("tbabs(powerlaw + bbodyrad)", TBABS * (POWER + BODY)),
        ("phabs(powerlaw)", PHABS * POWER),
        ("phabs (powerlaw)", PHABS * POWER),
        ("(powerlaw)(phabs)", PHABS * POWER),
        ("(phabs)powerlaw", PHABS * POWER),
        ("powerlaw*phabs", PHABS * POWER),
        ("tbabs*phabs*powerlaw", TBABS * PHABS * POWER),
        ("tbabs*(phabs*powerlaw+bbodyrad)", TBABS * (PHABS * POWER + BODY)),
        ("tbabs(phabs(powerlaw)+bbodyrad)", TBABS * (PHABS * POWER + BODY)),
        ("constant*tbabs*phabs", FACTOR * TBABS * PHABS),
        ("powerlaw+powerlaw", POWER + POWER_2),
        ("tbabs*powerlaw+powerlaw", TBABS * POWER + POWER_2),
        ("\ttbabs\n *  powerlaw ", TBABS * POWER),
    ],
)
def test_an_expression_is_its_components_combined(expression, expected):
    np.testing.assert_allclose(flux(expression), expected, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("expression", ["TBabs*PowerLaw", "TBABS*POWERLAW"])
def test_case_does_not_matter(expression):
    np.testing.assert_array_equal(flux(expression), flux("tbabs*powerlaw"))
    assert list(spectral_model(expression).parameters) == [
        "tbabs.nH",
        "powerlaw.PhoIndex",
        "powerlaw.norm",
    ]


def test_multiplication_distributes():
    together = flux("tbabs*(powerlaw + bbodyrad)")
    parameters = {**EVERYTHING, "tbabs_2.nH": EVERYTHING["tbabs.nH"]}
    apart = spectral_model("tbabs*powerlaw + tbabs*bbodyrad")
    known = {name: parameters[name] for name in apart.parameters}
    np.testing.assert_allclose(
        apart(**known)(EnergyGrid(EDGES)), together, rtol=1e-6, atol=1e-30
    )


def test_parameters_follow_the_expression_and_later_occurrences_are_numbered():
    model = spectral_model("phabs*(powerlaw + gaussian) + powerlaw + powerlaw")
    assert list(model.parameters) == [
        "phabs.nH",
        "powerlaw.PhoIndex",
        "powerlaw.norm",
        "gaussian.LineE",
        "gaussian.Sigma",
        "gaussian.norm",
        "powerlaw_2.PhoIndex",
        "powerlaw_2.norm",
        "powerlaw_3.PhoIndex",
        "powerlaw_3.norm",
    ]
    assert model.parameters["gaussian.LineE"].unit == "keV"
    assert model.parameters["gaussian.LineE"].default == 6.5


def test_parameters_that_are_not_given_take_their_defaults():
    np.testing.assert_allclose(
        evaluate("gaussian", {"gaussian.norm": 2}, EDGES),
        of(Gaussian, energy=6.5, sigma=0.1, norm=2.0),
        rtol=1e-5,
        atol=1e-12,
    )


def test_result_is_numpy_with_one_value_per_bin():
    result = evaluate("powerlaw", {}, EDGES)
    assert isinstance(result, np.ndarray)
    assert result.shape == (100,)


@pytest.mark.slow
def test_abundances_reach_every_absorber():
    grid = EnergyGrid(EDGES)
    model = spectral_model("tbabs*phabs", abundances="angr")
    expected = TBabs(0.3, "angr")(grid) * Phabs(0.1, "angr")(grid)
    ours = model(**{"tbabs.nH": 0.3, "phabs.nH": 0.1})(grid)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert np.max(np.abs(np.asarray(ours) / (TBABS * PHABS) - 1)) > 0.01


def test_cross_sections_reach_the_absorbers_that_have_a_choice():
    grid = EnergyGrid(EDGES)
    model = spectral_model("wabs*phabs", cross_sections="bcmc")
    assert model.cross_sections == "bcmc"
    factors = model()
    assert [factor.xspec_name for factor in factors.factors] == ["wabs", "phabs"]
    chosen = Phabs(cross_sections="bcmc")(grid)
    np.testing.assert_array_equal(factors.factors[1](grid), chosen)
    assert np.max(np.abs(np.asarray(chosen) / np.asarray(Phabs()(grid)) - 1)) > 0.01


def test_unknown_cross_sections_are_refused_when_the_model_is_made():
    with pytest.raises(ValueError, match="'obcm'. Known: vern, bcmc"):
        spectral_model("phabs*powerlaw", cross_sections="obcm")


def test_a_model_is_differentiable_in_its_named_parameters():
    model, grid = spectral_model("tbabs*powerlaw"), EnergyGrid(EDGES)

    @jax.jit
    def photons(column):
        return model(**{"tbabs.nH": column})(grid).sum()

    slope = jax.grad(photons)(jnp.asarray(0.3))
    step = (photons(jnp.asarray(0.31)) - photons(jnp.asarray(0.29))) / 0.02
    np.testing.assert_allclose(slope, step, rtol=1e-2)
    assert slope < 0


@pytest.mark.parametrize(
    ("expression", "message", "column"),
    [
        ("", "expected a component or '('", 1),
        ("   ", "expected a component or '('", 4),
        ("tbabs*", "expected a component or '('", 7),
        ("powerlaw +", "expected a component or '('", 11),
        ("*powerlaw", "expected a component or '('", 1),
        ("tbabs**powerlaw", "expected a component or '('", 7),
        ("tbabs*()", "expected a component or '('", 8),
        ("tbabs*(powerlaw", "unbalanced '('", 7),
        ("((powerlaw)", "unbalanced '('", 1),
        ("powerlaw)", "unbalanced ')'", 9),
        ("tbabs*(powerlaw))", "unbalanced ')'", 17),
        ("2*powerlaw", "expected a component or '(', or `constant` for a number", 1),
        ("powerlaw*2", "expected a component or '(', or `constant` for a number", 10),
        ("powerlaw 2", "unexpected '2'", 10),
        ("powerlaw - bbody", "unexpected '-'", 10),
        ("tbabs*(powerlaw - bbody)", "unexpected '-'", 17),
        ("powerlaw/tbabs", "unexpected '/'", 9),
        ("tbabs powerlaw", "expected '*' or '+' before 'powerlaw'", 7),
        ("powerlaw[0]", "unexpected '['", 9),
        ("powerlaw.real", "unexpected '.'", 9),
        ("__import__('os')", "expected a component or '('", 1),
        ("_powerlaw", "expected a component or '('", 1),
    ],
)
def test_what_cannot_be_read_is_shown_with_its_place(expression, message, column):
    with pytest.raises(ValueError, match="Cannot read the model") as caught:
        spectral_model(expression)
    reason, shown, marker = str(caught.value).split("\n", 2)
    assert reason == f"Cannot read the model: {message} at character {column}."
    assert shown == f"  {expression}"
    assert marker == "  " + " " * (column - 1) + "^"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("powerlow", r"Unknown component 'powerlow'. Did you mean 'powerlaw'\?"),
        ("tbab*powerlaw", r"Unknown component 'tbab'. Did you mean 'tbabs'\?"),
        ("gauss", r"Unknown component 'gauss'. Did you mean 'gaussian'\?"),
        ("bb", r"Did you mean 'bbody' or 'bbodyrad'\?"),
        ("tbas*powerlaw", r"Unknown component 'tbas'. Did you mean 'tbabs'\?"),
        ("powerlaw_2", "Unknown component 'powerlaw_2'. Did you mean 'powerlaw'"),
        ("xyzzy", "Unknown component 'xyzzy'. Known: .*bbody.*tbabs"),
        ("exec(powerlaw)", "Unknown component 'exec'"),
        ("lambda(powerlaw)", "Unknown component 'lambda'"),
        ("os.system", "Unknown component 'os'"),
    ],
)
def test_unknown_components_are_refused_with_the_nearest(expression, message):
    with pytest.raises(ValueError, match=message):
        spectral_model(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "powerlaw*bbody",
            r"Two additive models cannot be multiplied: \(powerlaw\) \* \(bbody\). "
            r"Did you mean '\+'\?",
        ),
        ("(powerlaw+gaussian)*bbody", r"\(powerlaw\+gaussian\) \* \(bbody\)"),
        ("tbabs+powerlaw", r"tbabs is a multiplicative factor. Did you mean '\*'\?"),
        ("powerlaw+tbabs", "tbabs is a multiplicative factor"),
        ("tbabs+phabs", "Only additive models can be added, but tbabs"),
        ("powerlaw + tbabs*constant", r"tbabs\*constant is a multiplicative factor"),
    ],
)
def test_the_algebra_of_kinds_is_kept(expression, message):
    with pytest.raises(ValueError, match=message):
        spectral_model(expression)


def test_code_is_never_run(tmp_path):
    target = tmp_path / "written"
    for code in (f"open({str(target)!r},'w')", f"powerlaw+(open)('{target}')"):
        with pytest.raises(ValueError, match=r"Unknown component|Cannot read"):
            spectral_model(code)
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("powerlaw.phoindex", "Did you mean 'powerlaw.PhoIndex'"),
        ("powerlaw.Norm", "Did you mean 'powerlaw.norm'"),
        ("nH", "Known: powerlaw.PhoIndex, powerlaw.norm"),
    ],
)
def test_unknown_parameters_are_refused_with_the_nearest(name, hint):
    with pytest.raises(ValueError, match=f"Unknown parameter {name!r} of 'powerlaw'.*"):
        evaluate("powerlaw", {name: 1.0}, EDGES)
    with pytest.raises(ValueError, match=hint):
        spectral_model("powerlaw")(**{name: 1.0})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tbabs.nH", -1.0, r"between 0 and 1e\+06 \[1e22 / cm\^2\]; got -1"),
        ("powerlaw.PhoIndex", np.nan, "got nan"),
        ("powerlaw.PhoIndex", np.inf, "got inf"),
        ("powerlaw.norm", np.inf, "got inf"),
        ("powerlaw.norm", "two", "must be a number; got 'two'"),
        ("powerlaw.norm", [1.0, 2.0], "must be a number"),
    ],
)
def test_values_outside_of_the_hard_limits_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        evaluate("tbabs*powerlaw", {name: value}, EDGES)


def test_unknown_abundances_are_refused_when_the_model_is_made():
    with pytest.raises(ValueError, match="Unknown abundance table 'solar'"):
        spectral_model("tbabs*powerlaw", abundances="solar")


@pytest.mark.parametrize(
    "combine",
    [
        lambda: PowerLaw() * PowerLaw(),
        lambda: PowerLaw() + TBabs(),
        lambda: TBabs() + PowerLaw(),
        lambda: PowerLaw() + 1.0,
        lambda: TBabs() * 2.0,
    ],
)
def test_components_combine_by_the_same_algebra(combine):
    with pytest.raises(TypeError):
        combine()


def test_a_convolution_between_a_factor_and_a_model_needs_parentheses():
    smooth, model = GaussianSmoothing(0.1, 0.0), PowerLaw()
    with pytest.raises(TypeError, match=r"write TBabs\(...\) \* \(GaussianSmoothing"):
        TBabs() * smooth * model
    assert isinstance(TBabs() * (smooth * model), SpectralModel)
