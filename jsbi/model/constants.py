"""Physical constants, with XSPEC's digits where its definitions hold them."""

REST_ENERGY = 511.0  # of the electron [keV], in XSPEC's Comptonisation models
