"""Samples, the ratios between them, and whether a ratio reaches its target."""

import math
import statistics
from dataclasses import dataclass, field


# A median so far from the best was disturbed: threads that spin suffer most, so that a ratio may flatter either side.
STEADY = 1.2


@dataclass
class Sample:
    """What was measured of one engine: milliseconds, of which less is better, or a rate, of which more is."""

    who: str
    values: list
    unit: str = "ms"

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def best(self):
        return min(self.values) if self.unit == "ms" else max(self.values)

    @property
    def p90(self):
        """What nine of ten are better than, or equal to."""
        worst_last = sorted(self.values, reverse=self.unit != "ms")
        return worst_last[min(len(worst_last) - 1, math.ceil(0.9 * len(worst_last)) - 1)]

    @property
    def unsteady(self):
        apart = self.median / self.best if self.unit == "ms" else self.best / self.median
        return len(self.values) > 2 and apart > STEADY

    def __str__(self):
        spread = f" [{number(self.best)}, {number(self.p90)}; {len(self.values)}]" if len(self.values) > 1 else ""
        return f"{number(self.median)} {self.unit}{spread}"


@dataclass
class Figure:
    """One line of the table. `value` is held against `target`: at least, unless `at_most`."""

    section: str
    name: str
    value: float | None
    target: float | None
    unit: str = "x"
    at_most: bool = False
    samples: list = field(default_factory=list)
    missing: str = ""
    note: str = ""

    @property
    def verdict(self):
        if self.value is None:
            return "missing"
        if self.target is None:
            return ""
        reached = self.value <= self.target if self.at_most else self.value >= self.target
        return "pass" if reached else "short"

    @property
    def unsteady(self):
        """Whose median is too far from its best for the figure to be quoted."""
        return [sample.who for sample in self.samples if sample.unsteady]

    def value_text(self):
        return "-" if self.value is None else quantity(self.value, self.unit)

    def target_text(self):
        if self.target is None:
            return ""
        return aim(self.target, self.unit, self.at_most)

    def as_json(self):
        samples = {
            sample.who: {"unit": sample.unit, "median": sample.median, "best": sample.best, "p90": sample.p90}
            | {"values": sample.values}
            for sample in self.samples
        }
        plain = ("section", "name", "value", "target", "unit", "at_most", "missing", "note")
        return {name: getattr(self, name) for name in plain} | {
            "verdict": self.verdict,
            "unsteady": self.unsteady,
            "samples": samples,
        }


def number(value):
    """Three digits that count, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def quantity(value, unit):
    return number(value) + ("x" if unit == "x" else f" {unit}")


def aim(target, unit, at_most):
    """The target as it was stated, with no more digits."""
    return f"{'≤' if at_most else '≥'} {target:,g}" + ("x" if unit == "x" else f" {unit}")


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def times_faster(section, name, own, peer, target, **more):
    """How many times faster `own` is, by medians."""
    ratio = peer.median / own.median if own.unit == "ms" else own.median / peer.median
    return Figure(section, name, ratio, target, samples=[own, peer], **more)


def missing(section, name, target, reason, **more):
    """A figure that could not be measured, and why."""
    return Figure(section, name, None, target, missing=reason, **more)
