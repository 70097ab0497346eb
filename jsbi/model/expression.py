"""XSPEC-like expressions, parsed into models and never evaluated as code."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import equinox as eqx
import jax
import numpy as np

from jsbi.instrument import EnergyGrid
from jsbi.model.component import (
    Component,
    Convolution,
    Multiplicative,
    Parameter,
    SpectralModel,
)
from jsbi.model.photoelectric import check_cross_sections, read_abundances
from jsbi.model.registry import find_component, suggest
from jsbi.model.tables import USES, Table, load_table

Tree = tuple  # ("+", left, right), ("*", left, right) or ("component", label)

MOST_TOKENS = 500  # far above any model, far below what recursion can take
_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[-+*/()^]|\{[^{}]*\}|\S)")


class _Parser:
    """Recursive descent over sum := product {+ product}, product := atom {[*] atom}."""

    def __init__(self, expression: str, folder: Path):
        self.expression, self.folder = expression, folder
        self.tokens = [
            (match.group(1), match.start(1)) for match in _TOKEN.finditer(expression)
        ]
        self.position = 0
        self.components: dict[str, type[Component] | Table] = {}
        self.files: list[Path] = []

    def parse(self) -> Tree:
        if len(self.tokens) > MOST_TOKENS:
            raise ValueError(
                f"A model may have {MOST_TOKENS} words and signs; got "
                f"{len(self.tokens)}. Is a whole file in its place?"
            )
        tree = self.sum()
        if self.peek() is not None:
            self.fail(
                "unbalanced ')'"
                if self.peek() == ")"
                else f"unexpected {self.peek()!r}"
            )
        return tree

    def sum(self) -> Tree:
        tree = self.product()
        while self.peek() == "+":
            self.position += 1
            tree = ("+", tree, self.product())
        return tree

    def product(self) -> Tree:
        factors = [self.atom()]
        while True:
            token = self.peek()
            if token == "*":
                self.position += 1
            elif token is None or not (token == "(" or token[0].isalpha()):
                break
            elif token != "(" and self.tokens[self.position - 1][0] != ")":
                self.fail(f"expected '*' or '+' before {token!r}")
            factors.append(self.atom())
        # From the right, since a convolution changes all that follows it.
        tree = factors.pop()
        while factors:
            tree = ("*", factors.pop(), tree)
        return tree

    def atom(self) -> Tree:
        token = self.peek()
        if token == "(":
            opening = self.position
            self.position += 1
            tree = self.sum()
            if self.peek() is None:
                self.position = opening
                self.fail("unbalanced '('")
            if self.peek() != ")":
                self.fail(f"unexpected {self.peek()!r}")
            self.position += 1
            return tree
        if token is None or not token[0].isalpha():
            hint = ", or `constant` for a number" if _is_number(token) else ""
            self.fail(f"expected a component or '('{hint}")
        self.position += 1
        if token.lower() in USES:
            return ("component", self.table(token.lower()))
        component = find_component(token)
        return ("component", self.declare(component.xspec_name.lower(), component))

    def table(self, use: str) -> str:
        """Read the table whose file stands in braces, and give it its label."""
        token = self.peek()
        if token is None or len(token) < 2 or token[0] != "{":
            self.fail(f"expected a file in braces after {use!r}, {use}{{FILE}}")
        file = self.folder / Path(token[1:-1].strip()).expanduser()
        component = load_table(file, use)
        self.files.append(file)
        self.position += 1
        return self.declare(use, component)

    def declare(self, stem: str, component: type[Component] | Table) -> str:
        """Give the component its label: the second powerlaw is `powerlaw_2`."""
        label = stem
        number = 1
        while label in self.components:
            number += 1
            label = f"{stem}_{number}"
        self.components[label] = component
        return label

    def peek(self) -> str | None:
        if self.position < len(self.tokens):
            return self.tokens[self.position][0]
        return None

    def fail(self, reason: str) -> NoReturn:
        end = len(self.expression)
        where = self.tokens[self.position][1] if self.peek() is not None else end
        raise ValueError(
            f"Cannot read the model: {reason} at character {where + 1}.\n"
            f"  {self.expression}\n  {' ' * where}^"
        )


def _kind(tree: Tree, components: dict[str, type]) -> type:
    """What a tree makes; refuse what the algebra of kinds forbids."""
    if tree[0] == "component":
        component = components[tree[1]]
        kinds = SpectralModel, Multiplicative, Convolution
        return next(kind for kind in kinds if issubclass(component, kind))
    sign, left, right = tree
    kinds = _kind(left, components), _kind(right, components)
    if sign == "+":
        for branch, kind in zip((left, right), kinds, strict=True):
            if kind is not SpectralModel:
                raise ValueError(
                    f"Only additive models can be added, but {_write(branch)} is a "
                    f"{_WORDS[kind]}. Did you mean '*'?"
                )
        return SpectralModel
    if kinds[1] is Convolution:
        raise ValueError(
            f"A convolution changes what follows it, but nothing follows "
            f"{_write(right)}. Put it before what it is to change."
        )
    if kinds[0] is Convolution:
        return _convolved(components[left[1]], left, right, kinds[1])
    if kinds == (SpectralModel, SpectralModel):
        raise ValueError(
            f"Two additive models cannot be multiplied: ({_write(left)}) * "
            f"({_write(right)}). Did you mean '+'?"
        )
    return SpectralModel if SpectralModel in kinds else Multiplicative


_WORDS = {Multiplicative: "multiplicative factor", Convolution: "convolution"}


def _convolved(component: type, left: Tree, right: Tree, kind: type) -> type:
    """What a convolution makes of what follows it."""
    if component.changes_factor and kind is SpectralModel:
        raise ValueError(
            f"{_write(left)} changes a factor, but what follows gives photons: "
            f"{_write(right)}. Put it and the factor in parentheses, such as "
            f"({_write(left)}*phabs)*powerlaw."
        )
    if not component.changes_factor and kind is Multiplicative:
        raise ValueError(
            f"{_write(left)} changes photons, but what follows is a factor: "
            f"{_write(right)}."
        )
    return kind


def _write(tree: Tree) -> str:
    if tree[0] == "component":
        return tree[1]
    left, right = (
        f"({_write(branch)})" if tree[0] == "*" and branch[0] == "+" else _write(branch)
        for branch in tree[1:]
    )
    return f"{left}{tree[0]}{right}"


class ExpressionModel(eqx.Module):
    """A spectral model given as an expression; a function of named parameters.

    Attributes:
        expression: The expression as written.
        abundances: The abundance table of all absorbers in it.
        cross_sections: The cross sections of all its absorbers that have a choice.
        additive: Whether it gives photons, rather than a factor.
        folder: Where the names of its table models start; empty where it has none.
        files: Its table models.
    """

    expression: str = eqx.field(static=True)
    abundances: str = eqx.field(static=True)
    cross_sections: str = eqx.field(static=True)
    additive: bool = eqx.field(static=True)
    _tree: Tree = eqx.field(static=True)
    folder: str = eqx.field(static=True)
    files: tuple[str, ...] = eqx.field(static=True)
    # Each label with its component, or none where it is one of the tables.
    _classes: tuple[tuple[str, type[Component] | None], ...] = eqx.field(static=True)
    _tables: dict[str, Table]

    def __init__(
        self,
        expression: str,
        abundances: str = "wilm",
        folder: str | os.PathLike = "",
        cross_sections: str = "vern",
    ):
        parser = _Parser(expression, Path(folder).absolute())
        self.expression, self.abundances = expression, abundances
        self.cross_sections = cross_sections
        self._tree = parser.parse()
        self._tables = {
            label: part
            for label, part in parser.components.items()
            if isinstance(part, Table)
        }
        self._classes = tuple(
            (label, None if isinstance(part, Table) else part)
            for label, part in parser.components.items()
        )
        self.folder = str(parser.folder) if self._tables else ""
        self.files = tuple(map(str, parser.files))
        kinds = {
            label: part.kind if isinstance(part, Table) else part
            for label, part in parser.components.items()
        }
        kind = _kind(self._tree, kinds)
        if kind is Convolution:
            raise ValueError(
                f"A convolution changes what follows it, but {expression!r} is all "
                "there is."
            )
        self.additive = kind is SpectralModel
        read_abundances(abundances)  # refuses an unknown table
        check_cross_sections(cross_sections)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Full name, `component.Parameter`, to what XSPEC says about it."""
        return {
            f"{label}.{parameter.name}": parameter
            for label, component in self._parts()
            for parameter in component.parameters().values()
        }

    def check_limits(self, name: str, *values: Any, advice: str = "") -> None:
        """Check values of a parameter against XSPEC's hard limits.

        Args:
            name: The parameter.
            values: The values.
            advice: What to do if one lies outside, a sentence.

        Raises:
            ValueError: If one is no number, or lies outside.
        """
        parameter = self.parameters[name]
        for value in values:
            number = _number(name, value)
            slack = 1e-6 * abs(number) if math.isfinite(number) else 0.0  # of rounding
            if not parameter.low - slack <= number <= parameter.high + slack:
                unit = f" [{parameter.unit}]" if parameter.unit else ""
                raise ValueError(
                    f"{name!r} must be between {parameter.low:g} and "
                    f"{parameter.high:g}{unit}; got {number:g}.{advice}"
                )

    def _parts(self) -> Iterator[tuple[str, type[Component] | Table]]:
        """Label and what builds the component, in the order of the expression."""
        for label, component in self._classes:
            yield label, component or self._tables[label]

    def __call__(self, **values: Any) -> SpectralModel | Multiplicative:
        """Build the model; parameters that are not given take XSPEC's defaults.

        Raises:
            ValueError: If a name is not a parameter of the model, or a value is
                outside of the grid of a table model.
        """
        self._check_names(values)
        return self._build(values)

    def at(self, values: Mapping[str, Any]) -> SpectralModel | Multiplicative:
        """Build the model from numbers, which must be within XSPEC's hard limits.

        Raises:
            ValueError: If a name is not a parameter of the model, or a value is no
                number, or outside of the limits or the grid of a table model.
        """
        self._check_names(values)
        numbers = {name: _number(name, value) for name, value in values.items()}
        built = self._build(numbers)  # tables say more about their grids
        for name, value in numbers.items():
            self.check_limits(name, value)
        return built

    def _check_names(self, values: Mapping[str, Any]) -> None:
        known = self.parameters
        for name in values:
            if name not in known:
                raise ValueError(
                    f"Unknown parameter {name!r} of {self.expression!r}. "
                    f"{suggest(name, list(known))}"
                )

    def _build(self, values: dict[str, Any]) -> SpectralModel | Multiplicative:
        parts = {}
        for label, component in self._parts():
            arguments = {
                field: values[f"{label}.{parameter.name}"]
                for field, parameter in component.parameters().items()
                if f"{label}.{parameter.name}" in values
            }
            for choice in ("abundances", "cross_sections"):
                if choice in component.__dataclass_fields__:
                    arguments[choice] = getattr(self, choice)
            parts[label] = component(**arguments)
        return _combine(self._tree, parts)


def _is_number(token: str | None) -> bool:
    return token is not None and token[0].isdigit()


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name!r} must be a number; got {value!r}.") from None


def _combine(tree: Tree, parts: dict[str, Any]) -> Any:
    if tree[0] == "component":
        return parts[tree[1]]
    left, right = (_combine(branch, parts) for branch in tree[1:])
    return left + right if tree[0] == "+" else left * right


def spectral_model(
    expression: str,
    *,
    abundances: str = "wilm",
    cross_sections: str = "vern",
    folder: str | os.PathLike = "",
) -> ExpressionModel:
    """Parse an expression in XSPEC's notation, such as `tbabs*(bbodyrad + powerlaw)`.

    Args:
        expression: Component names in any case, `+`, `*` and parentheses. A factor
            may stand directly before a parenthesis. `atable{FILE}`, `mtable{FILE}` and
            `etable{FILE}` are table models.
        abundances: Abundance table of the absorbers, such as `wilm` or `angr`.
        cross_sections: Those of the atoms in `phabs` and its kin, `vern` or `bcmc`, as
            of XSPEC's command `xsect`. As in XSPEC, others have their own.
        folder: Where relative names of table models start; the working directory
            unless given.

    Returns: A function of named parameters, `model(**{"tbabs.nH": 0.1, ...})`.

    Raises:
        ValueError: If the expression cannot be read, with the place; if a component is
            unknown; if additive models are multiplied or factors added; if a table
            model is damaged.
        OSError: If the file of a table model cannot be read.
    """
    return ExpressionModel(expression, abundances, folder, cross_sections)


def evaluate(
    expression: str,
    parameters: Mapping[str, Any],
    energy_edges: np.ndarray,
    *,
    abundances: str = "wilm",
    cross_sections: str = "vern",
) -> np.ndarray:
    """Evaluate an expression on energy bins.

    Args:
        expression: As in `spectral_model`.
        parameters: Full names to values; others take XSPEC's defaults, `norm` is 1.
        energy_edges: Bin edges [keV], increasing.
        abundances: Abundance table of the absorbers.
        cross_sections: As in `spectral_model`.

    Returns: Photons / cm^2 / s in each bin of an additive expression, or the factor of
        each bin of a multiplicative one.

    Raises:
        ValueError: If the expression, a parameter's name or the edges are wrong, or a
            value is outside of XSPEC's hard limits or the grid of a table model.
    """
    choices = {"abundances": abundances, "cross_sections": cross_sections}
    model = spectral_model(expression, **choices)
    built = model.at(parameters)
    return np.asarray(_evaluate(built, EnergyGrid(energy_edges)))


@eqx.filter_jit
def _evaluate(model: Any, grid: EnergyGrid) -> jax.Array:
    return model(grid)
