"""Spectra, responses and backgrounds: files in, checked records out."""

from jsbi.data.describe import describe as describe
from jsbi.data.grouping import group_channels as group_channels
from jsbi.data.grouping import select_energy as select_energy
from jsbi.data.observation import Background as Background
from jsbi.data.observation import Observation as Observation
from jsbi.data.observation import Response as Response
from jsbi.data.observation import perfect_log_likelihood as perfect_log_likelihood
from jsbi.data.ogip import read_observation as read_observation
from jsbi.data.response import read_response as read_response
from jsbi.data.synthetic import gaussian_response as gaussian_response
from jsbi.data.synthetic import nicer_like as nicer_like
from jsbi.data.synthetic import observation_from_counts as observation_from_counts
from jsbi.data.table_model import TableModel as TableModel
from jsbi.data.table_model import TableParameter as TableParameter
from jsbi.data.table_model_read import read_table_model as read_table_model
from jsbi.data.table_model_write import save_table_model as save_table_model
from jsbi.data.table_model_write import write_table_model as write_table_model
from jsbi.data.write import write_arf as write_arf
from jsbi.data.write import write_response as write_response
from jsbi.data.write import write_spectrum as write_spectrum
