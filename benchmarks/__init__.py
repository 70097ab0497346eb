"""Measurements of speed and accuracy; run one as `python -m benchmarks.NAME`.

- `engine`: every method on one problem, and a network without adaptation.
- `flows`: which flow reaches the asked effective draws first.
- `compression`: what each compressor keeps of an X-IFU spectrum.
- `exposures`: one network over a factor of 100 in exposure, ranks by decile.
- `bimodal`, `joint`: problems with several modes; two instruments at once.
- `reproduce`, `minima`: the figures of Barret & Dupourque (2024).
- `cases`: the problems themselves, checked.

Each writes its numbers, with machine, versions and commit, and figures to `results/`.
"""
