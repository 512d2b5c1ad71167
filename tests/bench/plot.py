"""The figures as one SVG: tokens a second of every engine at every shape, and over gRPC."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as pyplot  # noqa: E402 - the backend is chosen first

COLOURS = {"own": "#0b6e99", "eager": "#c9c9c9", "openvino": "#8f6bb3", "onnxruntime": "#d9923b"}
SECTIONS = ("fp32", "bf16", "int8")


def draw(results, path):
    panels = [(section, shapes_of(results, section)) for section in SECTIONS]
    panels = [(section, shapes) for section, shapes in panels if shapes]
    served = [figure for figure in results["figures"] if figure["section"] == "served" and figure["samples"]]
    count = len(panels) + bool(served)
    if count == 0:
        return
    matplotlib.rcParams["svg.hashsalt"] = "headwater"
    figure, axes = pyplot.subplots(count, 1, figsize=(9, 3.1 * count), squeeze=False, layout="constrained")
    places = iter(axes[:, 0])
    for section, shapes in panels:
        bars(next(places), f"{section}: tokens a second by batch x tokens, more is better", shapes)
    if served:
        callers = {figure["name"].split(",")[0]: {"own": rate(figure)} for figure in served}
        bars(next(places), "over gRPC, bf16: tokens a second by callers", callers)
    figure.savefig(path)
    pyplot.close(figure)


def shapes_of(results, section):
    """{shape: {engine: tokens a second}}"""
    shapes = {}
    for figure in results["figures"]:
        shape = figure["name"].split(",")[0]
        if figure["section"] != section or " x " not in shape:
            continue
        batch, tokens = map(int, shape.split(" x "))
        for who, sample in figure["samples"].items():
            shapes.setdefault(shape, {})[who] = batch * tokens / sample["median"] * 1e3
    return shapes


def rate(figure):
    return next(iter(figure["samples"].values()))["median"]


def bars(axis, title, groups):
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    width = 0.8 / len(names)
    for at, name in enumerate(names):
        places = [group + at * width for group in range(len(groups))]
        heights = [group.get(name, 0) for group in groups.values()]
        drawn = axis.bar(places, heights, width, label=name, color=COLOURS.get(name.split()[0]))
        axis.bar_label(drawn, fmt="{:,.0f}", fontsize=6)
    axis.set_xticks([group + 0.4 - width / 2 for group in range(len(groups))], list(groups))
    axis.set_title(title, fontsize=9, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    if len(names) > 1:
        axis.legend(fontsize=7, frameon=False)
