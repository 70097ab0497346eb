"""Two posteriors side by side."""

from jsbi.posterior import Posterior


def compare(
    posterior: Posterior, reference: Posterior, truth: dict[str, float] | None = None
) -> str:
    """A table of means and widths, and how far apart they are.

    Args:
        posterior: The posterior to check.
        reference: What to check it against, of the same parameters.
        truth: Known parameters; how many standard deviations the posterior is off.

    Raises:
        ValueError: If the parameters differ.
    """
    check_same_parameters(posterior, reference)
    width = max(map(len, (*posterior.names, "parameter")))
    titles = (posterior.method, reference.method, "shift / sd", "sd ratio")
    lines = [
        f"{'parameter':<{width}}{titles[0]:>24}{titles[1]:>24}{titles[2]:>12}{titles[3]:>10}"
        + (f"{'truth':>11}{'(sd off)':>10}" if truth else "")
    ]
    rows = zip(
        posterior.names,
        posterior.mean(),
        posterior.sd(),
        reference.mean(),
        reference.sd(),
        strict=True,
    )
    for name, mean, sd, other_mean, other_sd in rows:
        ours, others = f"{mean:.4g} +- {sd:.2g}", f"{other_mean:.4g} +- {other_sd:.2g}"
        line = f"{name:<{width}}{ours:>24}{others:>24}"
        line += f"{(mean - other_mean) / other_sd:>12.3f}{sd / other_sd:>10.3f}"
        if truth:
            line += f"{truth[name]:>11.4g}{(mean - truth[name]) / sd:>10.2f}"
        lines.append(line)
    return "\n".join(lines)


def check_same_parameters(posterior: Posterior, reference: Posterior) -> None:
    """Check that two posteriors can be compared.

    Raises:
        ValueError: If the parameters differ.
    """
    if posterior.names != reference.names:
        raise ValueError(
            f"Only posteriors of the same parameters can be compared; got "
            f"{', '.join(posterior.names)} and {', '.join(reference.names)}."
        )
