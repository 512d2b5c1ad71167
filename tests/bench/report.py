"""The figures for people: a line each while they are measured, then JSON, a Markdown table and a plot."""

import json

import places
from figures import aim, number, quantity

COLUMNS = ("Figure", "Headwater", "Beside", "Result", "Target", "")


def line(figure):
    """One line of a running benchmark."""
    head = f"{figure.verdict:8}{figure.section:11}{figure.name:52}{figure.value_text():>15}  {figure.target_text():15}"
    samples = "   ".join(f"{sample.who} {sample}" for sample in figure.samples)
    unsteady = f"unsteady, repeat: {', '.join(figure.unsteady)}" if figure.unsteady else ""
    more = "; ".join(text for text in (figure.missing, figure.note, unsteady) if text)
    return "\n".join(text for text in (f"{head}  {samples}".rstrip(), f"{'':19}({more})" if more else "") if text)


def summary(figures):
    count = {verdict: sum(figure.verdict == verdict for figure in figures) for verdict in ("pass", "short", "missing")}
    parts = [f"{count['pass']} of {len(figures)} figures reach their target", f"{count['short']} fall short"]
    if count["missing"]:
        parts.append(f"{count['missing']} could not be measured")
    if unsteady := sum(bool(figure.unsteady) for figure in figures):
        parts.append(f"{unsteady} are unsteady and worth nothing until repeated on an idle machine")
    return ", ".join(parts)


def write(results):
    """Writes results, table and plot; returns where they are."""
    places.RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    places.TABLE.write_text(markdown(results))
    written = [places.RESULTS, places.TABLE]
    try:
        import plot
    except ImportError:
        return written
    plot.draw(results, places.PLOT)
    return [*written, places.PLOT]


def markdown(results):
    """The table as Markdown: medians, in brackets the fastest, what nine of ten reach, and how many there were."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "| --- | --: | --: | --: | --: | --- |"]
    for figure in results["figures"]:
        samples = [(who, sample_text(sample)) for who, sample in figure["samples"].items()]
        own = samples[0][1] if samples else "-"
        beside = ", ".join(f"{who} {text}" for who, text in samples[1:2]) or figure["note"] or "-"
        name = f"{figure['section']}: {figure['name']}"
        verdict = figure["verdict"] + (", unsteady" if figure["unsteady"] else "")
        rows.append("| " + " | ".join([name, own, beside, value(figure), target(figure), verdict]) + " |")
    about = results["machine"]
    peers = ", ".join(f"{name} {version}" for name, version in about["peers"].items())
    where = f"{about['processor']}, {about['cores']} cores, {', '.join(about['has'])}, {about['memory']}"
    how = f"{results['threads']} threads each; {peers}; {where}"
    return "\n".join(rows) + f"\n\n{how}.\n" + "".join(f"{note}.\n" for note in results["notes"])


def sample_text(sample):
    spread = f"{number(sample['best'])}, {number(sample['p90'])}; {len(sample['values'])}"
    return f"{quantity(sample['median'], sample['unit'])} [{spread}]"


def value(figure):
    return "-" if figure["value"] is None else quantity(figure["value"], figure["unit"])


def target(figure):
    if figure["target"] is None:
        return ""
    return aim(figure["target"], figure["unit"], figure["at_most"])
