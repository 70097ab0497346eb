"""What is known of a component, from which the laws for all of them are tested."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Array

from jsbi.model import Convolution, Multiplicative, SpectralModel, spectral_model


class GivenPhotons(SpectralModel):
    """Photons of the bins as they are."""

    spectrum: Array

    def __call__(self, grid):
        return self.spectrum


class GivenFactor(Multiplicative):
    """A factor of the bins as it is."""

    spectrum: Array

    def __call__(self, grid):
        return self.spectrum


def applied(component, spectrum=None):
    """A component by itself, or a convolution of something, or of given bins."""
    if not isinstance(component, Convolution):
        return component
    if spectrum is not None:
        given = GivenFactor if component.changes_factor else GivenPhotons
        return component * given(spectrum)
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
