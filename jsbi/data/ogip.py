"""Read a spectrum with everything that belongs to it, following its header."""

from pathlib import Path

import numpy as np

from jsbi.data.checks import check_background_mode
from jsbi.data.grouping import EnergyRange, GroupChoice, group_channels, select_energy
from jsbi.data.observation import Background, Observation, Response
from jsbi.data.response import lacks_area, read_response
from jsbi.data.spectrum import (
    Spectrum,
    aligned,
    as_background,
    read_spectrum,
    scatter,
    spread,
)
from jsbi.data.tables import PathLike, file_named_in_header, find_file


def read_observation(
    spectrum: PathLike,
    *,
    response: PathLike | None = None,
    arf: PathLike | None = None,
    background_file: PathLike | None = None,
    energy: EnergyRange | None = None,
    group: GroupChoice = None,
    background: str = "ignore",
    row: int | None = None,
) -> Observation:
    """Read a spectrum, its response and its background from OGIP files.

    Files that are not given are those named in the spectrum's header (RESPFILE,
    ANCRFILE, BACKFILE), relative to the spectrum; `.gz` may be added or missing.
    Channels with QUALITY other than 0 are dropped. Bins are formed from all good
    channels first; `energy` then keeps those that lie entirely inside. SYS_ERR and
    STAT_ERR are not used.

    Args:
        spectrum: PHA file of type I or II.
        response: RMF or RSP file.
        arf: ARF file; "none" for a response that includes the area but does not say so.
        background_file: PHA file of the background; "none" for no background. If the
            one named in the header is absent, there is none either.
        energy: Lower and upper limit [keV].
        group: See `group_channels`.
        background: What a fit does about the background; so far only "ignore".
        row: Row of a type II file, from 0.

    Returns: The observation.

    Raises:
        OSError: If a file does not exist.
        ValueError: If a file is not what it should be, files do not match, or
            nothing is left to fit.
    """
    check_background_mode(background)
    source = read_spectrum(spectrum, row=row)
    folded = _read_response(source, response, arf)
    region = _read_background(source, folded, background_file, row)
    place = aligned(source, folded)
    size = folded.detectors
    try:
        observation = Observation(
            name=source.name,
            counts=scatter(source.counts, place, size, 0.0),
            exposure=source.exposure,
            area_scale=spread(source.area_scale, place, size),
            back_scale=spread(source.back_scale, place, size),
            group=_group(source, place, folded, region, group, energy),
            response=folded,
            background=region,
            background_mode=background,
            net=source.net,
        )
    except ValueError as error:
        raise ValueError(f"{source.path}: {error}") from error
    return observation


def _read_response(
    source: Spectrum, response: PathLike | None, arf: PathLike | None
) -> Response:
    matrix = _given_or_named(source, response, "RESPFILE")
    if matrix is None:
        raise ValueError(
            f"{source.path}: a spectrum must have a response; none is given and the "
            "header's RESPFILE names none. Give `response`, and `arf` where the "
            "effective area is in a file of its own."
        )
    area = _given_or_named(source, arf, "ANCRFILE")
    _check_named(source, matrix, response, "RESPFILE", "response")
    if area is not None:
        _check_named(source, area, arf, "ANCRFILE", "arf")
    elif arf is None and lacks_area(matrix):
        raise ValueError(
            f"{source.path}: the response {matrix} says that it holds the "
            "redistribution alone (HDUCLAS3 = REDIST), so there must be an effective "
            "area; none is given and the header's ANCRFILE names none. Give `arf`, or "
            '"none" if the matrix includes the area after all.'
        )
    return read_response(matrix, area)


def _read_background(
    source: Spectrum, folded: Response, given: PathLike | None, row: int | None
) -> Background | None:
    path = _given_or_named(source, given, "BACKFILE")
    if path is None:
        return None
    try:
        find_file(path, "background")
    except FileNotFoundError:
        # A header often names a background that was never passed on; "ignore", the
        # only mode so far, does not need it. One that is asked for must exist.
        if given is None:
            return None
        raise
    try:
        return as_background(_read_any(path, row), folded)
    except ValueError as error:
        hint = "" if given is not None else ' Or give `background_file` = "none".'
        raise ValueError(f"{error}{hint}") from error


def _read_any(path: Path, row: int | None) -> Spectrum:
    """A background spectrum: of type I, or the source's row in a file of type II."""
    try:
        return read_spectrum(path, purpose="background")
    except ValueError:
        if row is None:
            raise
        return read_spectrum(path, row=row, purpose="background")


def _given_or_named(
    source: Spectrum, given: PathLike | None, keyword: str
) -> Path | None:
    """The file a caller gives, "none" being none, or else the one in the header."""
    if given is None:
        return file_named_in_header(source.files[keyword], source.path)
    return None if str(given).lower() == "none" else Path(given)


def _check_named(
    source: Spectrum, path: Path, given: PathLike | None, keyword: str, argument: str
) -> None:
    if given is not None:
        return
    try:
        find_file(path)
    except OSError:
        raise FileNotFoundError(
            f"{path}: no such file, nor {path.name}.gz; the header of {source.path} "
            f"names it as {keyword}. Put it there or give `{argument}`."
        ) from None


def _group(
    source: Spectrum,
    place: np.ndarray,
    folded: Response,
    region: Background | None,
    choice: GroupChoice,
    energy: EnergyRange | None,
) -> np.ndarray:
    size, flags = folded.detectors, source.flags
    group = group_channels(
        choice,
        scatter(source.counts, place, size, 0.0),
        scatter(source.good, place, size, False),
        flags=None if flags is None else scatter(flags, place, size, 1),
        background=None if region is None else region.counts,
        background_scale=_background_scale(source, place, region, size),
        redistribution=folded.redistribution,
    )
    if energy is None:
        return group
    return select_energy(group, folded.channel_low, folded.channel_high, energy)


def _background_scale(
    source: Spectrum, place: np.ndarray, region: Background | None, size: int
) -> np.ndarray:
    """Source over background: exposure times area scale times back scale."""
    if region is None:
        return np.zeros(size)
    own = spread(source.area_scale * source.back_scale, place, size)
    other = region.area_scale * region.back_scale
    ratio = np.divide(own, other, out=np.zeros(size), where=other > 0)
    return ratio * source.exposure / region.exposure
