"""Table models agree with what they were tabulated from, and say where they end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsbi
from jsbi.api import check_parameters
from jsbi.config import parse_config
from jsbi.data import TableModel, TableParameter, save_table_model, write_table_model
from jsbi.instrument import EnergyGrid
from jsbi.model import Table, evaluate, spectral_model
from jsbi.simulate import Prior, Uniform

EDGES = np.geomspace(0.2, 12.0, 1201)
OUTPUT = np.geomspace(0.5, 8.0, 301)
INDICES = np.linspace(1.0, 3.0, 9)
COLUMNS = np.geomspace(0.01, 1.0, 13)


def power_law(index):
    return evaluate("powerlaw", {"powerlaw.PhoIndex": index}, EDGES)


def transmission(column):
    return evaluate("tbabs", {"tbabs.nH": column}, EDGES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    index = TableParameter("index", INDICES)
    column = TableParameter("nH", COLUMNS, "log", initial=0.1)
    write_table_model(
        folder / "po.fits", lambda index: power_law(index), [index], EDGES
    )
    write_table_model(
        folder / "abs.fits",
        lambda nH: transmission(nH),
        [column],
        EDGES,
        additive=False,
    )
    write_table_model(
        folder / "depth.fits",
        lambda nH: -np.log(transmission(nH)),
        [column],
        EDGES,
        additive=False,
    )
    write_table_model(
        folder / "both.fits",
        lambda index, nH, line: power_law(index) * transmission(nH) + line * bump(),
        [index, column],
        EDGES,
        additional=[TableParameter("line", minimum=0.0, maximum=5.0, initial=0.0)],
        redshift=True,
        energy_scale=True,
    )
    return folder


def bump():
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    return np.diff(EDGES) * np.exp(-0.5 * ((middle - 6.4) / 0.3) ** 2)


def of(folder, expression, edges=EDGES, **values):
    model = spectral_model(expression, folder=folder)
    named = {name.replace("__", "."): value for name, value in values.items()}
    return np.asarray(integrated(model(**named), EnergyGrid(edges)), np.float64)


@eqx.filter_jit
def integrated(model, grid):
    return model(grid)


@pytest.mark.parametrize("index", [1.0, 1.75, 3.0])
def test_nodes_are_exact(folder, index):
    found = of(folder, "atable{po.fits}", atable__index=index, atable__norm=2.0)
    np.testing.assert_allclose(found, 2 * power_law(index), rtol=1e-6)
    column = COLUMNS[5]
    found = of(folder, "mtable{abs.fits}", mtable__nH=column)
    np.testing.assert_allclose(found, transmission(column), rtol=1e-5, atol=1e-7)
    found = of(folder, "etable{depth.fits}", etable__nH=column)
    np.testing.assert_allclose(found, transmission(column), rtol=2e-5, atol=1e-7)


def test_between_nodes_the_error_is_that_of_linear_interpolation(folder):
    """Half way, the mean of E^(h/2) and E^(-h/2) times the spectrum."""
    middle = 0.5 * (INDICES[2] + INDICES[3])
    found = of(folder, "atable{po.fits}", atable__index=middle)
    energy = np.sqrt(EDGES[1:] * EDGES[:-1])
    theory = np.cosh(0.5 * (INDICES[3] - INDICES[2]) * np.log(energy))
    np.testing.assert_allclose(found / power_law(middle), theory, rtol=1e-5)


def test_between_nodes_of_a_logarithmic_parameter(folder):
    """Linear in ln nH: half way is the geometric mean of the columns."""
    column = np.sqrt(COLUMNS[6] * COLUMNS[7])
    found = of(folder, "mtable{abs.fits}", mtable__nH=column)
    mean = 0.5 * (transmission(COLUMNS[6]) + transmission(COLUMNS[7]))
    np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-7)


def test_a_logarithmic_grid_that_begins_at_zero_is_linear_there(test_data):
    path = test_data("exosat_session/testpcfabs.mod.gz")
    expression = f"mtable{{{path}}}"
    edges = np.geomspace(1.0, 10.0, 101)
    none, first, half = (
        evaluate(expression, {"mtable.nH": nH, "mtable.fract": 1.0}, edges)
        for nH in (0.0, 1e-5, 5e-6)
    )
    np.testing.assert_allclose(half, 0.5 * (none + first), rtol=1e-6)
    np.testing.assert_allclose(none, 1.0, rtol=1e-6)


def test_a_real_table_is_the_power_law_that_it_says(test_data):
    path = test_data("exosat_session/testpo.mod.gz")
    edges = np.linspace(1.0, 10.0, 901)  # those of the table, in single precision
    found = evaluate(f"atable{{{path}}}", {"atable.index": 2.0}, edges)
    expected = evaluate("powerlaw", {"powerlaw.PhoIndex": 2.0}, edges)
    np.testing.assert_allclose(found, expected, rtol=5e-4)


def overlap(content, edges, output):
    """Photons of constant densities in other bins, in float64."""
    low, high = output[:-1, None], output[1:, None]
    shared = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
    return (np.maximum(shared, 0.0) * content / np.diff(edges)).sum(1)


STEEP = EDGES[1:] ** -6.0 * np.diff(EDGES)


@pytest.mark.parametrize(
    "output",
    [
        EDGES,
        EDGES[::7],
        np.geomspace(0.1, 20.0, 40),
        np.geomspace(0.3, 10.0, 5001),
        np.linspace(6.0, 6.1, 2001),
    ],
    ids=["same", "sevenfold", "coarse", "fine", "narrow"],
)
def test_photons_are_shared_by_overlap_and_none_is_lost(output):
    """Nine decades of flux in float32, bins far wider and narrower than the table's."""
    single = TableParameter("none", np.array([1.0]))
    model = TableModel(
        "", "", True, (single,), (), EDGES, STEEP[None], np.ones((0, 1, 1200))
    )
    found = np.asarray(integrated(Table(model, "atable")(), EnergyGrid(output)))
    expected = overlap(STEEP, EDGES, output)
    # An edge of the grid is known to 6e-8 of its energy, and the density jumps by a
    # fiftieth between bins of the table.
    np.testing.assert_allclose(
        found, expected, rtol=1e-4 if len(output) > 2000 else 5e-6
    )
    factor = TableModel(
        "", "", False, (single,), (), EDGES, STEEP[None], model.additions
    )
    inside = (output[1:] <= EDGES[-1]) & (output[:-1] >= EDGES[0])
    mean = np.asarray(integrated(Table(factor, "mtable")(), EnergyGrid(output)))[inside]
    content = overlap(STEEP * np.diff(EDGES), EDGES, output)[inside]
    np.testing.assert_allclose(mean, content / np.diff(output)[inside], rtol=1e-4)


def test_narrow_bins_over_many_decades_keep_the_faint_end():
    """10,000 bins from 1 to 1e-20, read bin by bin and in pairs."""
    edges = np.geomspace(0.1, 10.0, 10_001)
    content = np.geomspace(1.0, 1e-20, 10_000)
    single = TableParameter("none", np.array([1.0]))
    model = TableModel(
        "", "", True, (single,), (), edges, content[None], np.ones((0, 1, 10_000))
    )
    table = Table(model, "atable")()
    np.testing.assert_allclose(integrated(table, EnergyGrid(edges)), content, rtol=1e-5)
    pairs = content.reshape(-1, 5).sum(1)
    np.testing.assert_allclose(
        integrated(table, EnergyGrid(edges[::5])), pairs, rtol=1e-5
    )


def test_spectra_that_single_precision_cannot_hold_are_scaled():
    single = TableParameter("none", np.array([1.0]))
    faint = 1e-42 * STEEP
    model = TableModel(
        "", "", True, (single,), (), EDGES, faint[None], np.ones((0, 1, 1200))
    )
    found = Table(model, "atable")(norm=1e23)(EnergyGrid(EDGES))
    np.testing.assert_allclose(found, STEEP * 1e-19, rtol=1e-5)


def test_the_mean_of_an_exponential_is_not_that_of_its_mean():
    edges = np.array([1.0, 2.0, 3.0])
    single = TableParameter("none", np.array([1.0]))
    depth = np.array([[0.0, 3.0]])
    model = TableModel("", "", False, (single,), (), edges, depth, np.ones((0, 1, 2)))
    found = Table(model, "etable")()(EnergyGrid(np.array([1.0, 3.0])))
    np.testing.assert_allclose(found, 0.5 * (1 + np.exp(-3.0)), rtol=1e-6)


@pytest.mark.parametrize(("below", "above"), [(None, None), (0.0, 0.25)])
def test_energies_outside_of_a_factor(below, above):
    edges = np.array([1.0, 2.0])
    single = TableParameter("none", np.array([1.0]))
    model = TableModel(
        "",
        "",
        False,
        (single,),
        (),
        edges,
        np.full((1, 1), 0.5),
        np.ones((0, 1, 1)),
        below=below,
        above=above,
    )
    found = Table(model, "mtable")()(EnergyGrid(np.array([0.5, 0.7, 1.5, 2.5])))
    # The middle bins: half of [0.7, 1.5], and of [1.5, 2.5], lies in the table.
    outside = (1.0 if below is None else below, 1.0 if above is None else above)
    middle = (0.3 * outside[0] + 0.5 * 0.5) / 0.8, 0.5 * 0.5 + 0.5 * outside[1]
    np.testing.assert_allclose(found, [outside[0], *middle], rtol=1e-6)


def test_additional_parameters_add_their_spectrum(folder):
    at = {"atable__index": 2.0, "atable__nH": COLUMNS[4]}
    base = of(folder, "atable{both.fits}", **at)
    more = of(folder, "atable{both.fits}", **at, atable__line=2.5)
    np.testing.assert_allclose(more - base, 2.5 * bump(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        base, power_law(2.0) * transmission(COLUMNS[4]), rtol=1e-5, atol=1e-8
    )


def test_redshift_and_energy_scale(folder):
    """Against the same component, redshifted by its own rule; scale is 1 / (1 + z)."""
    inside = OUTPUT
    redshift = 0.5
    at = {"atable__index": 2.0, "atable__nH": COLUMNS[4]}
    table = spectral_model("atable{both.fits}", folder=folder)
    named = {name.replace("__", "."): value for name, value in at.items()}
    rest = EnergyGrid(inside * (1 + redshift))
    expected = np.asarray(table(**named)(rest))
    found = of(folder, "atable{both.fits}", inside, **at, atable__z=redshift)
    np.testing.assert_allclose(found, expected / 1.5, rtol=1e-4)
    found = of(folder, "atable{both.fits}", inside, **at, atable__Escale=1 / 1.5)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_parameters_and_labels(folder):
    expression = "mtable{abs.fits}*(atable{po.fits} + ATABLE{ both.fits })"
    model = spectral_model(expression, folder=folder)
    assert model.expression == expression
    assert model.files == tuple(
        str(folder / name) for name in ("abs.fits", "po.fits", "both.fits")
    )
    assert list(model.parameters) == [
        "mtable.nH",
        "atable.index",
        "atable.norm",
        "atable_2.index",
        "atable_2.nH",
        "atable_2.line",
        "atable_2.z",
        "atable_2.Escale",
        "atable_2.norm",
    ]
    column = model.parameters["mtable.nH"]
    assert column.default == pytest.approx(0.1)
    assert (column.low, column.high) == pytest.approx((0.01, 1.0))
    assert model.parameters["atable_2.z"].frozen


def test_a_path_starts_at_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list(spectral_model("atable{po.fits}").parameters) == [
        "atable.index",
        "atable.norm",
    ]


def test_names_lose_their_blanks_and_may_not_repeat():
    one, two = (TableParameter(name, np.arange(2.0)) for name in ("log xi", "norm"))
    parts = (np.array([1.0, 2.0]), np.ones((2, 1)), np.ones((0, 2, 1)))
    table = Table(TableModel("", "", True, (one,), (), *parts), "atable")
    assert list(table.parameters()) == ["log_xi", "norm"]
    with pytest.raises(ValueError, match="'norm' is there twice"):
        Table(TableModel("", "", True, (two,), (), *parts), "atable")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("atable", "expected a file in braces after 'atable', atable{FILE} at char"),
        ("atable{po.fits", "expected a file in braces after 'atable'"),
        ("atable(po.fits)", "expected a file in braces after 'atable'"),
        ("powerlaw{po.fits}", "unexpected '{po.fits}'"),
        ("mtable{po.fits}", "table of factors; this one holds photons .* atable"),
        ("atable{abs.fits}", "table of photons; this one holds factors .* mtable"),
        ("mtable{abs.fits}+atable{po.fits}", "mtable is a multiplicative factor"),
        (
            "atable{po.fits}*atable{po.fits}",
            r"cannot be multiplied: \(atable\) \* \(ata",
        ),
    ],
)
def test_what_is_no_table_model_is_refused(folder, expression, message):
    with pytest.raises(ValueError, match=message):
        spectral_model(expression, folder=folder)


def test_files_that_are_absent_or_cannot_be_used(folder):
    with pytest.raises(FileNotFoundError, match="no such table model"):
        spectral_model("atable{absent.fits}", folder=folder)
    single = TableParameter("none", np.array([1.0]))
    parts = (np.array([1.0, 2.0]), np.ones((1, 1)), np.ones((0, 1, 1)))
    limited = TableModel("", "", True, (single,), (), *parts, below=2.0)
    save_table_model(folder / "limited.fits", limited)
    with pytest.raises(ValueError, match="LOELIMIT .* must be 0; they are 2 and 0"):
        spectral_model("atable{limited.fits}", folder=folder)


def test_there_is_no_value_outside_of_the_grid(folder):
    model = spectral_model("atable{po.fits}", folder=folder)
    path = folder / "po.fits"
    for index in (0.99, 3.01):
        with pytest.raises(ValueError, match="'index' must stay in the grid .* 1 to 3"):
            evaluate(f"atable{{{path}}}", {"atable.index": index}, EDGES)
        prior = Prior(
            {
                "atable.index": Uniform(min(index, 2.0), max(index, 2.5)),
                "atable.norm": 1,
            }
        )
        with pytest.raises(ValueError, match="'atable.index' must be between 1 and 3"):
            check_parameters(model, prior)
        # Where values are not known, there are no photons to be had: not a number.
        traced = jax.jit(lambda x: model(**{"atable.index": x})(EnergyGrid(OUTPUT)))
        found = traced(jnp.asarray(index))
        assert np.all(np.isnan(found))
    # The ends themselves, and what rounding makes of them, are inside.
    check_parameters(
        model, Prior({"atable.index": Uniform(1.0, 3.0), "atable.norm": 1})
    )
    assert np.all(evaluate(f"atable{{{path}}}", {"atable.index": 3.0000005}, EDGES) > 0)


POINT = jnp.array([1.83, 0.137, 0.7, 0.02, 1.01, 1.3])
NAMES = [f"atable.{name}" for name in ("index", "nH", "line", "z", "Escale", "norm")]


def photons(model, point, grid):
    return model(**dict(zip(NAMES, point, strict=True)))(grid)


def test_gradients_are_finite_differences(folder):
    """In every parameter, forwards and backwards."""
    model = spectral_model("atable{both.fits}", folder=folder)
    grid = EnergyGrid(OUTPUT)
    weight = jnp.linspace(1.0, 2.0, len(OUTPUT) - 1)

    @jax.jit
    def total(point):
        return photons(model, point, grid) @ weight

    backward = jax.jit(jax.grad(total))(POINT)
    forward = jax.jit(jax.jacfwd(total))(POINT)
    np.testing.assert_allclose(forward, backward, rtol=1e-4)
    for i, slope in enumerate(backward):
        step = np.zeros(len(POINT), np.float32)
        step[i] = 0.003 * float(POINT[i])
        rise = float(total(POINT + step)) - float(total(POINT - step))
        np.testing.assert_allclose(slope, rise / (2 * step[i]), rtol=0.01)


def test_batches_agree_and_values_do_not_recompile(folder):
    grid = EnergyGrid(OUTPUT)
    compiled = []

    @jax.jit
    def rows(model_points):
        compiled.append(1)
        return jax.vmap(lambda point: photons(model, point, grid))(model_points)

    model = spectral_model("atable{both.fits}", folder=folder)
    scale = jnp.linspace(0.99, 1.01, 5)
    points = POINT[None] * scale[:, None]
    found = rows(points)
    rows(points * 1.001)
    assert len(compiled) == 1
    for point, row in zip(points, found, strict=True):
        np.testing.assert_allclose(photons(model, point, grid), row, rtol=2e-4)


def test_a_file_that_changes_is_read_again(folder):
    path = folder / "changing.fits"
    index = TableParameter("index", INDICES)
    for factor in (1.0, 2.0):
        write_table_model(
            path, lambda index, factor=factor: np.full(1200, factor), [index], EDGES
        )
        found = evaluate(f"atable{{{path}}}", {}, EDGES)
        np.testing.assert_allclose(found, factor)


CONFIG = """
model = "mtable{abs.fits}*powerlaw"

[[observation]]
spectrum = "absent.pha"

[prior]
"mtable.nH" = { uniform = [0.01, 1.0] }
"powerlaw.PhoIndex" = { uniform = [1.0, 3.0] }
"powerlaw.norm" = 1.0
"""


def test_in_a_configuration_a_path_starts_at_its_file(folder):
    config = parse_config(CONFIG.encode(), folder / "fit.toml")
    assert config.model.expression == "mtable{abs.fits}*powerlaw"
    wide = CONFIG.replace("0.01, 1.0", "0.01, 2.0")
    with pytest.raises(ValueError, match="'mtable.nH' must be between 0.01 and 1"):
        parse_config(wide.encode(), folder / "fit.toml")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("reused_keys")
def test_inference_with_a_table_in_place_of_an_absorber(tmp_path):
    """The packaged example, with tbabs as a table: the same posterior."""
    from jsbi.demo import make_example

    observation, config = make_example(tmp_path)
    edges = np.asarray(observation.response.energy_edges)
    column = TableParameter("nH", np.linspace(0.0, 1.0, 401))
    write_table_model(
        tmp_path / "abs.fits",
        lambda nH: evaluate("tbabs", {"tbabs.nH": nH}, edges),
        [column],
        edges,
        additive=False,
    )
    table = spectral_model("mtable{abs.fits}*(bbodyrad + powerlaw)", folder=tmp_path)
    renamed = {
        name.replace("tbabs", "mtable"): value
        for name, value in config.prior.parameters.items()
    }
    results = [
        jsbi.infer(
            jax.random.key(1), observation, model, prior, draws=2000, progress=False
        )
        for model, prior in ((config.model, config.prior), (table, Prior(renamed)))
    ]
    first, second = (list(each.summary().values()) for each in results)
    for a, b in zip(first, second, strict=True):
        assert abs(a["mean"] - b["mean"]) < 0.15 * a["sd"]
        assert b["sd"] == pytest.approx(a["sd"], rel=0.1)
    assert results[1].report.verdict == "trusted"
    assert results[1].log_evidence == pytest.approx(results[0].log_evidence, abs=0.15)
