"""From file records to linear maps on the device."""

from jsbi.instrument.folder import Folder as Folder
from jsbi.instrument.grid import EnergyGrid as EnergyGrid
