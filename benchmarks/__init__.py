"""Measurements of speed and accuracy.

`python -m benchmarks run --out DIR` measures every method of this package, and other
tools where they are installed (`pip install -e ".[bench]"`), on the same problems, and
goes on where it was stopped; `--scaling` adds families that grow in bins, parameters,
counts or spectra. `python -m benchmarks report DIR` writes tables and figures.

Others are run as `python -m benchmarks.NAME`:

- `engine`: every method on one problem, and a network without adaptation.
- `flows`: which flow reaches the asked effective draws first.
- `compression`: what each compressor keeps of an X-IFU spectrum.
- `exposures`: one network over a factor of 100 in exposure, ranks by decile.
- `bimodal`, `joint`: problems with several modes; two instruments at once.
- `reproduce`, `minima`: the figures of Barret & Dupourque (2024).
- `calibration`: ranks of 1000 spectra, and whether broken posteriors are caught.
- `goodness`, `misfit`: false alarms and power of the tests of fit and model.
- `unfolding`: errors and coverage of the unfolded spectrum.
- `cases`: the problems themselves, checked.

Each of these writes its numbers, with machine, versions and commit, and figures to
`results/`.
"""
