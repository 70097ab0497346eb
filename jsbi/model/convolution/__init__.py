"""Convolution components: what changes the spectrum of all bins together."""
