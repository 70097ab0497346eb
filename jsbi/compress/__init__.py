"""From counts to a summary that a density estimator can be conditioned on."""

from jsbi.compress.autoencoder import AutoEncoder as AutoEncoder
from jsbi.compress.autoencoder import train_autoencoder as train_autoencoder
from jsbi.compress.compressor import Compressor as Compressor
from jsbi.compress.compressor import Concatenated as Concatenated
from jsbi.compress.compressor import Jointly as Jointly
from jsbi.compress.compressor import Standardised as Standardised
from jsbi.compress.compressor import summarise as summarise
from jsbi.compress.compressor import summary_length as summary_length
from jsbi.compress.fisher import FisherScores as FisherScores
from jsbi.compress.fisher import fisher_information as fisher_information
from jsbi.compress.networks import Convolution as Convolution
from jsbi.compress.networks import Embedding as Embedding
from jsbi.compress.registry import KINDS as KINDS
from jsbi.compress.registry import STEPS as STEPS
from jsbi.compress.registry import check_names as check_names
from jsbi.compress.registry import draw_examples as draw_examples
from jsbi.compress.registry import make_compressor as make_compressor
from jsbi.compress.registry import spread_fiducials as spread_fiducials
from jsbi.compress.summaries import BandRatios as BandRatios
from jsbi.compress.summaries import PrincipalComponents as PrincipalComponents
from jsbi.compress.summaries import ScaledCounts as ScaledCounts
from jsbi.compress.summaries import geometric_bands as geometric_bands
