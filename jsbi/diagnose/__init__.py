"""Is it right? Goodness of fit and the verdict."""

from jsbi.diagnose.compare import compare as compare
from jsbi.diagnose.goodness import cstat_moments as cstat_moments
from jsbi.diagnose.retriever import Retrieval as Retrieval
from jsbi.diagnose.retriever import retrieve_parameters as retrieve_parameters
from jsbi.diagnose.verdict import judge as judge
