"""Additive components: sources of photons, integrated over each energy bin."""
