"""Exact Bayesian X-ray spectral inference at simulation speed."""

__version__ = "0.1.0"
