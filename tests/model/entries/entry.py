"""What is known of a component, from which the laws for all of them are tested."""

from collections.abc import Callable
from dataclasses import dataclass

from jsbi.model import Convolution, spectral_model


def applied(component):
    """A component by itself, or what a convolution makes of something."""
    if not isinstance(component, Convolution):
        return component
    if component.changes_factor:
        return component * spectral_model("tbabs")(**{"tbabs.nH": 0.5})
    values = {"powerlaw.PhoIndex": 1.7, "gaussian.Sigma": 0.2, "gaussian.norm": 0.05}
    return component * spectral_model("powerlaw + gaussian")(**values)


@dataclass(frozen=True)
class Entry:
    """What is known of a component.

    Attributes:
        defaults: XSPEC's, without the norm.
        cases: Parameters, without the norm, at which the laws are tested.
        xspec: Relative tolerance against XSPEC above 1e-6 of the peak, and absolute
            tolerance; None where another file compares.
        density: Photons / cm^2 / s / keV for norm 1, where the formula is elementary;
            of a factor or a convolution None.
        quadrature: Relative tolerance against its integral.
        single: Relative tolerance of float32, from the parameters.
        additivity: Relative tolerance of photons in bins against those in bins of ten
            times the width, in float64; None where the law does not hold.
        unlike: Which bins of XSPEC's numbers are not compared, from edges and
            parameters, where XSPEC is known to be wrong or its edge rule is a matter of
            rounding.
        points: At most so many places of the allowed range for the law of finite
            values and gradients.
    """

    defaults: tuple[float, ...]
    cases: tuple[tuple[float, ...], ...]
    xspec: tuple[float, float] | None = None
    density: Callable | None = None
    quadrature: float = 1e-6
    single: Callable = lambda *parameters: 1e-4
    additivity: float | None = 3e-6
    unlike: Callable | None = None
    points: int = 3000
