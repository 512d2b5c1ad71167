"""The table of `make bench-gpu`: medians, spread, how many times faster, and whether targets are reached."""

import statistics

OWN = "own"


def compared(shape, measured, targets, absent):
    """A line for each engine of one shape. A peer that is wanted for a target and absent is `missing`."""
    own = statistics.median(measured["ms"][OWN])
    lines = []
    for name, ms in measured["ms"].items():
        middle = statistics.median(ms)
        target = targets.get((shape, name))
        faster = middle / own
        lines.append(
            {
                "shape": shape,
                "engine": name,
                "median_ms": middle,
                "fastest_ms": min(ms),
                "spread": spread(ms),
                "rows_per_s": measured["rows"] / middle * 1e3,
                "tokens_per_s": measured["tokens"] / middle * 1e3,
                "own_is_faster": None if name == OWN else faster,
                "target": target,
                "verdict": "" if target is None else "pass" if faster >= target else "short",
                "ms": ms,
            }
        )
    for (at, name), target in targets.items():
        if at == shape and name in absent:
            lines.append({"shape": shape, "engine": name, "target": target, "verdict": "missing"})
    return lines


def spread(ms):
    """Half the distance between the quartiles, as a share of the median."""
    if len(ms) < 4:
        return 0.0
    quartiles = statistics.quantiles(ms, n=4)
    return (quartiles[2] - quartiles[0]) / 2 / statistics.median(ms)


def show(results):
    print("\nlargest difference of pooled vectors to eager fp32")
    rows = [["engine", "difference", "allowed", ""]]
    for line in results["parity"]:
        allowed = "" if line["allowed"] is None else f"{line['allowed']:.0e}"
        rows.append([line["name"], f"{line['largest']:.1e}", allowed, line["verdict"]])
    show_table(rows)
    print("\nmilliseconds a pass, copies to and from the device included")
    rows = [["shape", "engine", "median", "fastest", "spread", "rows/s", "tokens/s", "own is", "target", ""]]
    for line in results["times"]:
        target = "" if line["target"] is None else f"{line['target']:g}x"
        if line["verdict"] == "missing":
            rows.append([line["shape"], line["engine"], *[""] * 6, target, "missing"])
            continue
        faster = "" if line["own_is_faster"] is None else f"{line['own_is_faster']:.2f}x"
        rows.append(
            [
                line["shape"],
                line["engine"],
                f"{line['median_ms']:.3f}",
                f"{line['fastest_ms']:.3f}",
                f"±{line['spread']:.0%}",
                f"{line['rows_per_s']:.0f}",
                f"{line['tokens_per_s']:.0f}",
                faster,
                target,
                line["verdict"],
            ]
        )
    show_table(rows)
    for name, reason in results["absent"].items():
        print(f"without {name}: {reason}")


def show_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
