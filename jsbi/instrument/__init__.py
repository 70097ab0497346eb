"""From file records to linear maps on the device."""

from jsbi.instrument.folder import Folder as Folder
from jsbi.instrument.gain import GainFolder as GainFolder
from jsbi.instrument.grid import EnergyGrid as EnergyGrid
