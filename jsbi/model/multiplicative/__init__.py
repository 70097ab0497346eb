"""Multiplicative components: factors of the photons of each energy bin."""
