"""What `run` has found, in words, tables and figures, from the numbers alone."""

import math
import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks.accuracy import SHIFT
from benchmarks.report_figures import draw_case, draw_scaling
from benchmarks.summary import HMC, SBI, Study, Summary, number, read_study, spread
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
            figure = draw_case(summaries)
            figure.savefig(out / f"{case}.png")
            parts += [cost_table(summaries), accuracy_table(summaries)]
            parts += [*case_sentences(summaries), f"![accuracy and cost]({case}.png)"]
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
    members = [
        each
        for methods in study.families.values()
        for m in methods.values()
        for each in m
    ]
    results = [s.result for s in _all(study)] + [s.result for _, s in members]
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
        "`trusted`: imports, compilation and training included; the rules are the same "
        "for all tools. *Warm* is a fit after the first in the same process. Numbers "
        "are medians, least and greatest in brackets. *Cost* is likelihood evaluations "
        "and simulations per effective draw; a gradient counts as one evaluation. "
        "Distances are the largest of all parameters, against a long run of the case; "
        "in brackets after KS is what 95 % of exact draws stay below. A fit is *right* "
        f"if means and widths agree to {100 * SHIFT:g} % of a standard deviation, or "
        "to four deviations of what so few draws scatter. Where the reference is by "
        "`auto`, only the agreement of the others with it is independent."
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
    return text + (
        f"Reference: {row['effective']:,.0f} effective draws by {row['rung']}, "
        f"{row['verdict']}, ln Z {number(row['ln Z'], 6)} +- "
        f"{number(row['error of ln Z'], 2)}, {row['seconds']:.0f} s."
    )


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
        "warm [CPU s]",
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
                ", ".join(sorted({row["rung"] for row in each.rows})),
                f"{each.trusted} of {len(each.rows)}",
                number(each.first_trusted),
                number(each.phase("compile")),
                number(each.phase("train") or (each.training or None)),
                spread(each.warm),
                spread([row["cpu [s]"] for row in each.rows[1:]]),
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
        if not each.distances("shift"):
            continue
        widths = each.distances("least width"), each.distances("greatest width")
        limit = statistics.median(each.distances("KS limit"))
        rows.append(
            [
                each.method,
                {True: "yes", False: "**no**", None: "-"}[each.right],
                spread(each.distances("shift"), 2),
                f"{min(widths[0]):.3f} to {max(widths[1]):.3f}",
                f"{spread(each.distances('KS'), 2)} [{limit:.2g}]",
                spread(each.distances("Wasserstein"), 2),
                spread(each.distances("classifier")),
                spread(each.distances("ln Z off [sigma]"), 2),
            ]
        )
    return table(columns, rows) if rows else ""


def missing(summaries: list[Summary]) -> str:
    """What did not run, or not to its end."""
    lines = [
        f"- {each.method}: {each.result['status']}"
        + (
            f", {each.result['note'].strip().splitlines()[-1]}"
            if each.result["note"]
            else ""
        )
        + (f"; {len(each.rows)} fits were done" if each.rows else "")
        for each in summaries
        if each.result["status"] != "done"
    ]
    return "\n".join(lines)


def best(
    summaries: Iterable[Summary], among: tuple[str, ...] | None = None
) -> Summary | None:
    """The sound method with the earliest trusted answer, among some."""
    chosen = [s for s in summaries if s.sound and (among is None or s.method in among)]
    return min(chosen, key=lambda s: s.first_trusted or math.inf, default=None)


def case_sentences(summaries: list[Summary]) -> list[str]:
    """Who wins and who loses a case."""
    lines = []
    first = best(summaries)
    if first is not None:
        lines.append(
            f"- First trusted answer: `{first.method}` after "
            f"{number(first.first_trusted)} s."
        )
    learned = best(summaries, SBI)
    others = [s for s in summaries if s.method not in SBI]
    other = best(others)
    if learned is None:
        if any(s.method in SBI and s.rows for s in summaries):
            lines.append(
                "- **SBI loses**: no network gave only trusted, right answers."
            )
    elif other is not None:
        lines.append("- " + _duel(learned, other))
    lines += [f"- {line}" for line in _break_even(summaries)]
    wrong = [s.method for s in summaries if s.right is False]
    if wrong:
        lines.append(f"- Not right against the reference: {_names(wrong)}.")
    fooled = [s.method for s in summaries if s.right is False and s.trusted]
    if fooled:
        lines.append(f"- Not right, yet some fits say `trusted`: {_names(fooled)}.")
    return ["\n".join(lines)] if lines else []


def _names(methods: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in methods)


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


def _break_even(summaries: list[Summary]) -> list[str]:
    """From how many spectra on a trained network pays."""
    by_name = {s.method: s for s in summaries}
    network = by_name.get("amortised")
    if network is None or not network.warm:
        return []
    lines = []
    each = statistics.median(network.warm)
    for name in ("auto", "nuts"):
        other = by_name.get(name)
        if other is None or not other.warm:
            continue
        alone = statistics.median(other.warm)
        if alone <= each:
            lines.append(
                f"A trained network never pays against `{name}`: {number(each)} s for "
                f"a spectrum, warm, against {number(alone)} s."
            )
        else:
            spectra = math.ceil(network.training / (alone - each))
            lines.append(
                f"A trained network pays against `{name}` from {spectra:,} spectra on: "
                f"{number(network.training)} s of training, then {number(each)} s for "
                f"a spectrum against {number(alone)} s."
            )
    return lines


def advice(study: Study) -> list[str]:
    """When to use what, counted over the cases."""
    lines = []
    duels = []
    for case, summaries in study.cases.items():
        learned = best((s for s in summaries if s.method == "sbi"), SBI)
        chains = best(summaries, HMC)
        if learned is not None and chains is not None:
            duels.append((case, learned, chains))
    if duels:
        ratios = [a.first_trusted / b.first_trusted for _, a, b in duels]  # type: ignore[operator]
        faster = [
            case for (case, *_), ratio in zip(duels, ratios, strict=True) if ratio < 1
        ]
        cheaper = [
            case
            for case, a, b in duels
            if statistics.median(a.cost) < statistics.median(b.cost)
        ]
        lines.append(
            f"For a single spectrum, a network trained for it (`sbi`) gave the first "
            f"trusted answer before the best HMC in {len(faster)} of {len(duels)} "
            f"cases{_listed(faster)}; it took {spread(ratios, 2)} times as long. Its "
            f"evaluations and simulations per effective draw were fewer in "
            f"{len(cheaper)} of {len(duels)}{_listed(cheaper)}."
        )
    winners = [(case, best(summaries)) for case, summaries in study.cases.items()]
    counted: dict[str, list[str]] = {}
    for case, winner in winners:
        if winner is not None:
            counted.setdefault(winner.method, []).append(case)
    if counted:
        lines.append(
            "The first trusted and right answer of all came from "
            + "; ".join(
                f"`{method}` in {len(cases)}{_listed(cases)}"
                for method, cases in sorted(counted.items(), key=lambda i: -len(i[1]))
            )
            + "."
        )
    lines += _many_spectra(study)
    for title, methods in (("SBI", SBI), ("HMC", HMC)):
        failed = [
            f"`{s.method}` on {s.case}"
            for s in _all(study)
            if s.method in methods and s.rows and not s.sound
        ]
        if failed:
            lines.append(
                f"{title} without a sound answer (not trusted, or not right): "
                + ", ".join(failed)
                + "."
            )
    return [" ".join(lines)] if lines else []


def _listed(cases: list[str]) -> str:
    return f" ({', '.join(cases)})" if cases else ""


def _many_spectra(study: Study) -> list[str]:
    """Where amortisation pays, over the cases."""
    pays, never = [], []
    for case, summaries in study.cases.items():
        by_name = {s.method: s for s in summaries}
        network, chains = by_name.get("amortised"), by_name.get("nuts")
        if not network or not chains or not network.warm or not chains.warm:
            continue
        gain = statistics.median(chains.warm) - statistics.median(network.warm)
        if gain > 0:
            pays.append((case, math.ceil(network.training / gain)))
        else:
            never.append(case)
    lines = []
    if pays:
        lines.append(
            "For many spectra of one instrument and model, a network trained once pays "
            "against NUTS from "
            + ", ".join(f"{spectra:,} ({case})" for case, spectra in pays)
            + " spectra on."
        )
    if never:
        lines.append(f"It never pays against NUTS in: {', '.join(never)}.")
    return lines


def scaling_sentences(study: Study) -> list[str]:
    """How time and cost grow, as powers between the ends of each family."""
    lines = []
    for family, methods in study.families.items():
        for method, members in methods.items():
            done = [(size, s) for size, s in members if s.rows]
            if len(done) < 2:
                continue
            (small, a), (large, b) = done[0], done[-1]
            seconds = [
                statistics.median(s.warm or [s.rows[0]["seconds"]]) for s in (a, b)
            ]
            work = [
                statistics.median(r["evaluations"] + r["simulations"] for r in s.rows)
                for s in (a, b)
            ]
            lines.append(
                f"- {family} {small:,} to {large:,}, `{method}`: {number(seconds[0])} "
                f"to {number(seconds[1])} s, {number(work[0])} to {number(work[1])} "
                "evaluations and simulations"
                + ("" if b.sound else "; not trusted at the end")
            )
    return ["\n".join(lines)] if lines else []
