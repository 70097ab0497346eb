"""What `run` has found, in words, tables and figures, from the numbers alone."""

import math
import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks.accuracy import SHIFT
from benchmarks.harness import DONE
from benchmarks.methods import AMORTISED
from benchmarks.report_figures import draw_case, draw_scaling
from benchmarks.summary import (
    CHAINS,
    SBI,
    Study,
    Summary,
    judges,
    number,
    read_study,
    spread,
)
from jsbi.store import atomic_path

LIKE = 0.1  # ratio of times, in log10, within which two count as equal


def write_report(out: Path) -> Path:
    """Write README.md and figures into the folder of the results.

    Returns: The path of README.md.
    """
    study = read_study(out)
    parts = [
        "# Benchmark",
        _setting(study),
        _legend(),
    ]
    said = advice(study)
    parts += ["## When to use SBI, when HMC", *said] if said else []
    for case, summaries in study.cases.items():
        parts += [f"## {case}", _problem(study, case, summaries)]
        if any(summary.rows for summary in summaries):
            parts += [cost_table(summaries), accuracy_table(summaries)]
        parts += case_sentences(summaries)
        if any(summary.distances("shift") for summary in summaries):
            draw_case(summaries).savefig(out / f"{case}.png")
            parts += [f"![accuracy and cost]({case}.png)"]
        parts += [missing(summaries)]
    if study.families:
        draw_scaling(study.families).savefig(out / "scaling.png")
        parts += ["## Scaling", *scaling_sentences(study), "![scaling](scaling.png)"]
    path = out / "README.md"
    with atomic_path(path) as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n")
    return path


def _all(study: Study) -> list[Summary]:
    return [each for summaries in study.cases.values() for each in summaries]


def _setting(study: Study) -> str:
    grown = [m for methods in study.families.values() for m in methods.values()]
    members = _all(study) + [s for part in grown for _, s in part]
    results = [each.result for each in members]
    machines = {
        ", ".join(
            f"{name} {value}"
            for name, value in result["machine"].items()
            if name != "load"
        )
        for result in results
        if "machine" in result
    }
    loads = [result["machine"]["load"] for result in results if "machine" in result]
    draws = sorted({result["draws"] for result in results})
    return (
        f"{' and '.join(f'{each:,}' for each in draws)} effective draws asked for (of "
        "an amortised network: draws). Machine: "
        + "; ".join(sorted(machines))
        + f"; load when each began {spread(loads, 2)}."
    )


def _legend() -> str:
    return (
        "Each method and case had a process of its own. *First trusted* is the time "
        "from the start of that process to the first answer with the verdict "
        "`trusted`: imports, compilation and training included. The rules of the "
        "verdict are the same for all tools, but for the effective draws that it "
        "needs: weighted draws must reach the number asked for, those of an amortised "
        "network a tenth (400 to 1,000), chains and nested sampling 400. UltraNest, "
        "emcee, npe-sbi and npe-sbijax run with fixed sizes. *Warm* is a fit after the "
        "first in the same process, less what JAX compiled in it. Numbers are medians, "
        "least and greatest in brackets. *Cost* is likelihood evaluations and "
        "simulations per effective draw, without those that train an amortised network "
        "beforehand; a gradient counts as one evaluation. "
        "Distances are the largest of all parameters, against a long run of the case; "
        "in brackets after KS is what 95 % of exact draws stay below. A fit is *right* "
        f"if means and widths agree to {100 * SHIFT:g} % of a standard deviation, or "
        "to four deviations of what so few draws scatter. A method is *sound* on a "
        "case if all its fits were made, all are trusted and all are right; where no "
        "reference may judge, trusted and not known to be wrong. Where the reference "
        "is by `auto`, only the agreement of the others with it is independent. In the "
        "figures what is not sound is hollow, and what never gave a trusted answer "
        "stands at the time of its first."
    )


def _problem(study: Study, case: str, summaries: list[Summary]) -> str:
    text = ""
    problem = next(
        (s.result["problem"] for s in summaries if "problem" in s.result), {}
    )
    if problem:
        sizes = ", ".join(f"{value:,} {name}" for name, value in problem.items())
        text = sizes[0].upper() + sizes[1:] + ". "
    found = study.references.get(case)
    if not found or not found["rows"]:
        return text + "There is no reference: accuracy is unknown."
    row = found["rows"][0]
    text += (
        f"Reference: {number(row['effective'])} effective draws by {row['rung']}, "
        f"{row['verdict']}, ln Z {number(row['ln Z'], 6)} +- "
        f"{number(row['error of ln Z'], 2)}, {row['seconds']:.0f} s."
    )
    return text if judges(found) else text + " It judges nobody."


def table(columns: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cost_table(summaries: list[Summary]) -> str:
    """Verdicts, times and cost of every method that gave an answer."""
    columns = ["method", "by", "trusted", "first trusted [s]", "compile [s]"]
    columns += [
        "train [s]",
        "warm [s]",
        "effective draws",
        "effective / s, warm",
    ]
    columns += ["cost", "memory [MB]"]
    rows = []
    for each in summaries:
        if not each.rows:
            continue
        memory = [each.result.get("peak memory [MB]")]
        memory += [each.result.get("device memory [MB]")]
        rows.append(
            [
                each.method,
                ", ".join(sorted(each.rungs)),
                f"{each.trusted} of {len(each.rows)}",
                number(each.first_trusted),
                number(each.phase("compile")),
                number(each.phase("train") or (each.training or None)),
                spread(each.warm),
                spread([row["effective"] for row in each.rows]),
                spread(each.rates),
                spread(each.cost),
                ", device ".join(number(m) for m in memory if m is not None),
            ]
        )
    return table(columns, rows)


def accuracy_table(summaries: list[Summary]) -> str:
    """Distances from the reference; nothing where there is none."""
    columns = ["method", "right", "shift of a mean [sd]", "width ratios", "KS"]
    columns += ["Wasserstein [sd]", "classifier", "ln Z off [sigma]"]
    rows = []
    for each in summaries:
        if not any(row.get("accuracy") for row in each.rows):
            continue
        widths = [*each.distances("least width"), *each.distances("greatest width")]
        rows.append(
            [
                each.method,
                {True: "yes", False: "**no**", None: "-"}[each.right],
                spread(each.distances("shift"), 2),
                f"{min(widths):.3f} to {max(widths):.3f}" if widths else "-",
                f"{spread(each.distances('KS'), 2)} "
                f"[{spread(each.distances('KS limit'), 2)}]",
                spread(each.distances("Wasserstein"), 2),
                spread(each.distances("classifier")),
                spread(each.distances("ln Z off [sigma]"), 2),
            ]
        )
    return table(columns, rows) if rows else ""


def missing(summaries: list[Summary]) -> str:
    """What did not run, or not to its end."""
    lines = []
    for each in summaries:
        status, note = each.result["status"], each.result["note"].strip()
        if status == DONE:
            continue
        line = f"- {each.method}: {status}"
        if note:
            line += f", {note.splitlines()[-1]}"
        if each.rows:
            line += f"; {len(each.rows)} fits were done"
        lines.append(line)
    return "\n".join(lines)


def best(summaries: Iterable[Summary]) -> Summary | None:
    """The sound method with the earliest trusted answer."""
    chosen = [s for s in summaries if s.sound]
    return min(chosen, key=lambda s: s.first_trusted or math.inf, default=None)


def case_sentences(summaries: list[Summary]) -> list[str]:
    """Who wins and who loses a case."""
    lines = []
    first = best(summaries)
    if first is not None:
        lines.append(
            f"- First sound answer: `{first.method}` after "
            f"{number(first.first_trusted)} s"
            + ("." if first.right else "; it is not known to be wrong.")
        )
    learned = best(s for s in summaries if s.learned)
    other = best(s for s in summaries if not s.learned and not s.trains)
    if learned is None:
        if any(s.trains or (s.method in SBI and s.fault) for s in summaries):
            lines.append("- **SBI loses**: no network gave a sound answer.")
    elif other is not None:
        lines.append("- " + _duel(learned, other))
    lines += [f"- {line}" for line in _break_even(summaries)]
    faults = [f"`{s.method}` ({s.fault})" for s in summaries if s.fault]
    if faults:
        lines.append(f"- No sound answer: {', '.join(faults)}.")
    fooled = [
        f"`{s.method}` ({s.fooled} of {len(s.rows)})" for s in summaries if s.fooled
    ]
    if fooled:
        lines.append(f"- Fits that are not right, yet trusted: {', '.join(fooled)}.")
    return ["\n".join(lines)] if lines else []


def _duel(learned: Summary, other: Summary) -> str:
    assert learned.first_trusted is not None
    assert other.first_trusted is not None
    ratio = learned.first_trusted / other.first_trusted
    if abs(math.log10(ratio)) < LIKE:
        word = "SBI is level"
    else:
        word = "**SBI loses**" if ratio > 1 else "SBI wins"
    return (
        f"{word}: its earliest trusted answer, by `{learned.method}`, took "
        f"{number(ratio, 2)} times as long as that of `{other.method}`, which trains "
        "no network."
    )


def pays_from(summaries: list[Summary], name: str) -> float | None:
    """Spectra from which on the amortised network takes less time than a method.

    Returns: Infinity if it never does; None if either is not sound or not warm, or if
        the network's draws had to be replaced.
    """
    by_name = {s.method: s for s in summaries if s.sound and s.warm}
    network, other = by_name.get(AMORTISED), by_name.get(name)
    if network is None or other is None or not network.learned:
        return None
    gain = statistics.median(other.warm) - statistics.median(network.warm)
    return math.ceil(network.training / gain) if gain > 0 else math.inf


def _break_even(summaries: list[Summary]) -> list[str]:
    """From how many spectra on a trained network pays."""
    lines = []
    by_name = {s.method: s for s in summaries}
    for name in ("auto", "nuts"):
        spectra = pays_from(summaries, name)
        if spectra is None:
            continue
        network = by_name[AMORTISED]
        each, alone = (statistics.median(by_name[n].warm) for n in (AMORTISED, name))
        if spectra == math.inf:
            lines.append(
                f"A trained network never pays against `{name}`: {number(each)} s for "
                f"a spectrum, warm, against {number(alone)} s."
            )
        else:
            lines.append(
                f"A trained network pays against `{name}` from {spectra:,} spectra on: "
                f"{number(network.training)} s of training, then {number(each)} s for "
                f"a spectrum against {number(alone)} s."
            )
    return lines


def advice(study: Study) -> list[str]:
    """When to use what, counted over the cases."""
    lines = [*_single_spectrum(study)]
    counted: dict[str, list[str]] = {}
    for case, summaries in study.cases.items():
        winner = best(summaries)
        if winner is not None:
            counted.setdefault(winner.method, []).append(case)
    if counted:
        lines.append(
            "The first sound answer of all came from "
            + "; ".join(
                f"`{method}` in {len(cases)}{_listed(cases)}"
                for method, cases in sorted(counted.items(), key=lambda i: -len(i[1]))
            )
            + "."
        )
    lines += _many_spectra(study)
    faults = [f"`{s.method}` on {s.case} ({s.fault})" for s in _all(study) if s.fault]
    if faults:
        lines.append(f"No sound answer: {', '.join(faults)}.")
    return [" ".join(lines)] if lines else []


def _single_spectrum(study: Study) -> list[str]:
    """A network trained for one spectrum against HMC, where both are sound."""
    duels: dict[str, tuple[Summary, Summary]] = {}
    for case, summaries in study.cases.items():
        learned = best(s for s in summaries if s.method == "sbi" and s.learned)
        chains = best(s for s in summaries if s.rungs <= CHAINS and not s.trains)
        if learned is not None and chains is not None:
            duels[case] = learned, chains
    if not duels:
        return []
    ratios = {
        case: (a.first_trusted or math.nan) / (b.first_trusted or math.nan)
        for case, (a, b) in duels.items()
    }
    faster = [case for case, ratio in ratios.items() if ratio < 1]
    cheaper = [
        case
        for case, (a, b) in duels.items()
        if statistics.median(a.cost) < statistics.median(b.cost)
    ]
    return [
        "For a single spectrum, a network trained for it (`sbi`) gave the first "
        f"trusted answer before the best HMC in {len(faster)} of the {len(duels)} "
        f"cases in which both were sound{_listed(faster)}; it took "
        f"{spread(list(ratios.values()), 2)} times as long. Its evaluations and "
        f"simulations per effective draw were fewer in {len(cheaper)}"
        f"{_listed(cheaper)}."
    ]


def _listed(cases: list[str]) -> str:
    return f" ({', '.join(cases)})" if cases else ""


def _many_spectra(study: Study) -> list[str]:
    """Where amortisation pays, over the cases in which network and NUTS are sound."""
    found = {case: pays_from(each, "nuts") for case, each in study.cases.items()}
    pays = [
        f"{spectra:,} ({case})"
        for case, spectra in found.items()
        if spectra is not None and spectra < math.inf
    ]
    never = [case for case, spectra in found.items() if spectra == math.inf]
    lines = []
    if pays:
        lines.append(
            "For many spectra of one instrument and model, a network trained once pays "
            f"against NUTS from {', '.join(pays)} spectra on."
        )
    if never:
        lines.append(f"It never pays against NUTS in: {', '.join(never)}.")
    return lines


def scaling_sentences(study: Study) -> list[str]:
    """How time and cost grow, between the ends of each family."""
    lines = [
        f"- {family}, `{method}`: {_growth(members)}."
        for family, methods in study.families.items()
        for method, members in methods.items()
    ]
    return ["\n".join(lines)] if lines else []


def _growth(members: list[tuple[int, Summary]]) -> str:
    """From the least to the greatest size with a warm fit, and what is not sound."""
    done = [(size, grown) for size, s in members if (grown := s.grown) is not None]
    if len(done) > 1:
        (small, first), (large, last) = done[0], done[-1]
        text = (
            f"from {small:,} to {large:,}, {number(first[0])} to {number(last[0])} s, "
            f"{number(first[1])} to {number(last[1])} evaluations and simulations"
        )
    else:
        text = "too few sizes with a warm fit"
    faults = [f"{size:,} ({s.fault})" for size, s in members if s.fault]
    return text + (f"; no sound answer at {', '.join(faults)}" if faults else "")
