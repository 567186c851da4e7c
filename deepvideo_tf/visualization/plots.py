"""Pictures of what a model has learnt and how well: plain data in, a matplotlib `Figure` out.

A figure is drawn by the Agg canvas and knows nothing of pyplot, whose state belongs to the whole process; in a notebook
it shows itself as the last expression of a cell. Colours are Okabe and Ito's and cividis, which the colour-blind tell
apart; what they say stands in hatches, line styles, marks or brightness too, so that it survives a grey printer.
"""

import csv
import io
import math
import textwrap
import warnings
from pathlib import Path

import numpy as np

from deepvideo_tf.errors import ConfigError, DeepVideoError

try:
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
except ImportError as error:
    raise DeepVideoError(f"pictures need the extra: pip install 'deepvideo-tf[plots]' ({error})") from None

BLUE, ORANGE, SKY, GREY = "#0072B2", "#E69F00", "#56B4E9", "0.85"  # Okabe and Ito's, and a grey
TRUE_HATCH = "////"
DPI = 110
RANDOM_COLOURFULNESS = 2 / 3
SHOWN_FILTERS = 96  # of a stream: all of them at the paper's width
SHOWN_FRAMES = 10
MAX_NAME = 32  # characters of a name, of a class or a video
MAX_CELL_TEXTS = 30  # classes: above, counts in the cells of a confusion matrix cannot be read
MAX_TICK_NAMES = 150  # classes: above, nor can their names
LINES_PER_COLUMN = 60
CURVES = {"loss": "Loss", "hit_at_1": "Clip Hit@1", "learning_rate": "Learning rate"}


class _Picture(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self):
        return to_png(self)


def to_png(figure):
    """Draws a figure.

    Args:
        figure: a matplotlib `Figure`.

    Returns:
        The bytes of a PNG file, whose size is the figure's in inches times its dots per inch.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # of class names: drawn as a box
        FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def _figure(width_in, height_in, title):
    figure = _Picture(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(textwrap.fill(_plain(title, None), max(30, int(11 * width_in))), fontsize=11)
    return figure


def _plain(text, most=MAX_NAME):
    """A name in one line that is not too long, and in which matplotlib finds no formula."""
    text = " ".join(str(text).split())
    if most is not None and len(text) > most:
        text = f"{text[: most - 1]}…"
    return text.replace("$", r"\$")


def colourfulness(filters):
    """How colourful each filter is: the part of its energy that a grey picture cannot reach.

    A filter is the sum of a grey part, the mean of its three colours at every place, and of what is left; the energy is
    the sum of squares. 0 is a filter that is the same for red, green and blue; 1 is a pure hue, which a grey picture
    cannot excite, such as red minus green. One that sees only red has 2/3, and so have random ones on average: what is
    above has learnt colour, what is below grey (Figure 3).

    Args:
        filters: float `[filter, time, height, width, 3]`.

    Returns:
        float64 `[filter]`, 0 to 1; not a number for a filter of zeros.
    """
    filters = np.asarray(filters, np.float64)
    hue = filters - filters.mean(axis=-1, keepdims=True)
    axes = tuple(range(1, filters.ndim))
    with np.errstate(invalid="ignore"):
        return (hue**2).sum(axis=axes) / (filters**2).sum(axis=axes)


def filters(filters, *, title=None):
    """First-layer filters of each stream, from the most colourful to the greyest (Figure 3).

    Each filter is scaled by itself: grey is 0, its largest weight is full black or white. A filter that reaches over
    several frames is a strip of them, the earliest at the left.

    Args:
        filters: dict from the stream's name to float `[filter, time, height, width, 3]`, as
            `deepvideo_tf.first_layer_filters` gives it.
        title: above the picture.

    Returns:
        `Figure`. The names of the streams bear the mean `colourfulness` of all their filters; at most 96 are shown.
    """
    mosaics, ranked = {}, {}
    for name, of_stream in filters.items():
        values = colourfulness(of_stream)
        order = np.argsort(-np.nan_to_num(values, nan=-1), kind="stable")
        ranked[name] = values[order]
        shown = order[np.linspace(0, len(order) - 1, min(len(order), SHOWN_FILTERS)).round().astype(int)]
        mosaics[name] = _mosaic(np.asarray(of_stream)[shown])
    is_side_by_side = all(mosaic.shape[1] < 2 * mosaic.shape[0] for mosaic in mosaics.values())
    count = len(mosaics)
    rows, columns = (1, count) if is_side_by_side else (count, 1)
    side_in = 5 if is_side_by_side else 9
    shape = next(iter(mosaics.values())).shape
    height_in = side_in * shape[0] / shape[1] + 0.5
    figure = _figure(max(6, side_in * columns), height_in * rows + 2.6, title)
    above, below = figure.subfigures(2, 1, height_ratios=[height_in * rows, 2.2])
    panels = above.subplots(rows, columns, squeeze=False).flat
    for panel, (name, mosaic) in zip(panels, mosaics.items(), strict=True):
        panel.imshow(mosaic, interpolation="nearest")
        panel.set_axis_off()
        panel.set_title(
            f"{name}: colourfulness {np.nanmean(ranked[name]):.2f}, {_how_many(filters[name])}", fontsize=10
        )
    _draw_ranks(below.subplots(), ranked)
    return figure


def _how_many(filters):
    count, time, height, width, _ = np.shape(filters)
    frames = f", {time} frames" if time > 1 else ""
    shown = f" ({SHOWN_FILTERS} of them shown)" if count > SHOWN_FILTERS else ""
    return f"{count} filters of {height} x {width} px{frames}{shown}"


def _mosaic(filters):
    """Pixels `[height, width, 3]`, 0 to 1: the filters in rows, white between them."""
    count, time, height, width, _ = filters.shape
    most = np.abs(filters).max(axis=(1, 2, 3, 4), keepdims=True)
    tiles = 0.5 + filters / np.where(most > 0, 2 * most, 1)
    strips = tiles.transpose(0, 2, 1, 3, 4).reshape(count, height, time * width, 3)
    strips = np.pad(strips, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    columns = max(1, min(count, round(math.sqrt(1.5 * count / time))))
    rows = math.ceil(count / columns)
    strips = np.concatenate([strips, np.ones((rows * columns - count, *strips.shape[1:]))])
    grid = strips.reshape(rows, columns, *strips.shape[1:])
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * grid.shape[2], columns * grid.shape[3], 3)


def _draw_ranks(panel, ranked):
    styles = [(ORANGE, "-", "o"), (BLUE, "--", "s")]
    for (name, values), (colour, line, mark) in zip(ranked.items(), styles, strict=False):
        percent = 100 * (np.arange(len(values)) + 0.5) / len(values)
        panel.plot(percent, values, color=colour, linestyle=line, marker=mark, markersize=3, label=name)
    panel.axhline(RANDOM_COLOURFULNESS, color="0.4", linestyle=":", linewidth=1, label="random filters, on average")
    panel.set(xlim=(0, 100), ylim=(0, 1.02), xlabel="Filters, from the most colourful to the greyest (%)")
    panel.set_ylabel("Colourfulness\n(part of the energy\nthat is no grey)")
    panel.legend(fontsize=8)


def predictions(frames, probabilities, labels, classes, *, names=None, top=5, title=None):
    """Frames with their likeliest classes as bars, the true ones hatched and named so (Figure 4).

    Args:
        frames: uint8 `[example, height, width, 3]`.
        probabilities: `[example, class]`.
        labels: list of lists of the numbers of the true classes.
        classes: class names.
        names: what the examples are called; None for none.
        top: bars of each.
        title: above the picture.

    Returns:
        `Figure`.
    """
    count = len(frames)
    columns = min(4, count)
    rows = math.ceil(count / columns)
    ranked = [ranked_classes(*example, top) for example in zip(probabilities, labels, strict=True)]
    lines = max(map(len, ranked))
    figure = _figure(2.9 * columns, rows * (2.9 + 0.27 * lines) + 0.5, title)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[2.3, 0.27 * lines] * rows)
    for number in range(count):
        row, column = divmod(number, columns)
        picture = figure.add_subplot(grid[2 * row, column])
        picture.imshow(frames[number])
        picture.set_axis_off()
        is_right = int(np.argmax(probabilities[number])) in labels[number]
        name = "" if names is None else f"\n{_plain(names[number], 34)}"
        picture.set_title(f"{'✓ right' if is_right else '✗ wrong'}{name}", fontsize=9)
        bars = figure.add_subplot(grid[2 * row + 1, column])
        _draw_bars(bars, ranked[number], classes, lines)
    return figure


def ranked_classes(probabilities, labels, top):
    """The likeliest classes, and the likeliest true one where it is not among them.

    Args:
        probabilities: `[class]`.
        labels: numbers of the true classes.
        top: how many.

    Returns:
        List of (rank from 1, number of the class, probability, whether it is true), the likeliest first.
    """
    order = np.argsort(-np.asarray(probabilities), kind="stable").tolist()
    ranks = list(range(min(top, len(order))))
    best_true = min((order.index(label) for label in labels), default=0)
    if best_true >= len(ranks):
        ranks.append(best_true)
    return [(rank + 1, order[rank], float(probabilities[order[rank]]), order[rank] in labels) for rank in ranks]


def _draw_bars(panel, ranked, classes, lines):
    for line, (rank, label, probability, is_true) in enumerate(ranked):
        panel.barh(
            line + 0.72,
            probability,
            height=0.36,
            color=ORANGE if is_true else SKY,
            hatch=TRUE_HATCH if is_true else None,
            edgecolor="black",
            linewidth=0.6,
        )
        place = f", rank {rank}" if rank != line + 1 else ""
        text = f"{_plain(classes[label])} {probability:.2f}{f' (true{place})' if is_true else ''}"
        panel.text(0, line + 0.5, text, fontsize=8, va="bottom", fontweight="bold" if is_true else "normal")
    panel.set(xlim=(0, 1), ylim=(lines + 0.1, 0))
    panel.set_yticks([])
    panel.set_xticks([0, 0.5, 1])
    panel.tick_params(labelsize=7)
    panel.set_xlabel("Probability", fontsize=7)
    panel.spines[["top", "right"]].set_visible(False)


def read_history(path):
    """Reads a run's `history.csv`.

    Args:
        path: the file.

    Returns:
        Dict from the column's name to a list of floats, an epoch each; what is no number is not a number there.

    Raises:
        ConfigError: there is no such file, or it has no epoch.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: the curves cannot be read: {error.strerror}") from None
    rows = [row for row in csv.DictReader(io.StringIO(text)) if (row.get("epoch") or "").isdecimal()]
    if not rows:
        raise ConfigError(f"{path}: expected the history of a run, found no epoch")
    return {name: [_to_number(row[name]) for row in rows] for name in rows[0] if name}


def _to_number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def curves(history, *, title=None):
    """Loss, Hit@1 and learning rate by epoch, those of training and of validation in one panel.

    Args:
        history: dict from the name to a list of numbers, an epoch each, as `read_history` and Keras's
            `model.fit(...).history` give it; `val_<name>` is the same of the validation clips.
        title: above the picture.

    Returns:
        `Figure`.
    """
    names = [name for name in history if name != "epoch" and not name.startswith("val_")]
    names.sort(key=lambda name: name == "learning_rate")
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = _figure(4.2 * columns, 3.2 * rows + 0.5, title)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(panels, names, strict=False):
        epochs = np.asarray(history.get("epoch", range(len(history[name])))) + 1
        mark = "o" if len(epochs) <= 40 else None
        panel.plot(epochs, history[name], color=BLUE, marker=mark, markersize=4, label="training, as it went")
        if f"val_{name}" in history:
            mark = mark and "s"
            values = history[f"val_{name}"]
            panel.plot(epochs, values, color=ORANGE, linestyle="--", marker=mark, markersize=4, label="validation")
        panel.set(xlabel="Epoch", title=CURVES.get(name, _plain(name)))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
        if name == "learning_rate":
            panel.set_yscale("log")
        if f"val_{name}" in history:
            panel.legend(fontsize=8)
        if name.startswith("hit_at_"):
            panel.set_ylim(-0.02, 1.02)
    return figure


def confusion(counts, classes, *, title=None):
    """The confusion matrix: of the videos of each true class, the part that is taken for each class.

    Args:
        counts: int `[true class][predicted class]`, videos.
        classes: class names.
        title: above the picture.

    Returns:
        `Figure`. Up to 30 classes the cells hold their counts; above 150 the axes have numbers in place of names. A
        class without a video is a row of hatches.
    """
    counts = np.asarray(counts)
    count = len(classes)
    totals = counts.sum(axis=1, keepdims=True)
    parts = counts / np.maximum(totals, 1)
    side_in = float(np.clip(0.42 * count, 4.5, 10 if count <= MAX_CELL_TEXTS else 15))
    figure = _figure(side_in + 3, side_in + 1.8, title)
    panel = figure.subplots()
    image = panel.imshow(parts, cmap="cividis", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    font = float(np.clip(60 * side_in / count, 5, 9))
    if count <= MAX_TICK_NAMES:
        names = [_plain(name) for name in classes]
        panel.set_xticks(range(count), names, rotation=90, fontsize=font)
        panel.set_yticks(range(count), names, fontsize=font)
    for row in np.flatnonzero(totals == 0):
        panel.add_patch(Rectangle((-0.5, row - 0.5), count, 1, facecolor="white", hatch="xxx", edgecolor="0.6"))
    if count <= MAX_CELL_TEXTS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "black" if parts[row, column] > 0.5 else "white"
            text = str(counts[row, column])
            panel.text(column, row, text, ha="center", va="center", color=colour, fontsize=font)
    panel.set_xlabel("Predicted class")
    panel.set_ylabel("True class")
    figure.colorbar(image, ax=panel, fraction=0.04, label="Part of the true class's videos")
    return figure


def ranked_by_group(ap, groups=None):
    """The classes of each group, by average precision.

    Args:
        ap: dict from the class to its average precision, or None where it has no video.
        groups: dict from the group to its classes; None or empty for all in one.

    Returns:
        List of (group, mean over its classes that have one, classes from the highest to those that have none). Classes
        of no group come last, as `other classes`.
    """
    groups = dict(groups or {"all classes": list(ap)})
    rest = [name for name in ap if not any(name in names for names in groups.values())]
    if rest:
        groups["other classes"] = rest
    ranked = []
    for group, names in groups.items():
        known = [ap[name] for name in names if ap[name] is not None]
        order = sorted(names, key=lambda name: (ap[name] is None, -(ap[name] or 0), name))
        ranked.append((group, sum(known) / len(known) if known else None, order))
    return ranked


def average_precision(ap, *, groups=None, title=None):
    """Average precision of each class as bars, by group, the highest first, and the mean of each group (Table 4).

    Args:
        ap: dict from the class to its average precision, or None where it has no video.
        groups: dict from the group to its classes, such as the paper's five of UCF-101; None for all in one.
        title: above the picture.

    Returns:
        `Figure`.
    """
    lines = []
    for group, mean, names in ranked_by_group(ap, groups):
        lines.append((group, mean, True, mean))
        lines += [(name, ap[name], False, mean) for name in names]
    columns = math.ceil(len(lines) / LINES_PER_COLUMN)
    per_column = math.ceil(len(lines) / columns)
    figure = _figure(max(6, 5 * columns), 0.19 * per_column + 1.4, title)
    for number, panel in enumerate(figure.subplots(1, columns, squeeze=False).flat):
        _draw_ap(panel, lines[number * per_column : (number + 1) * per_column], per_column)
    return figure


def _draw_ap(panel, lines, per_column):
    for place, (name, value, is_group, mean) in enumerate(lines):
        if is_group:
            heading = "no video" if value is None else f"mAP {value:.2f}"
            panel.text(0.01, place, f"{_plain(name, 40)}: {heading}", fontsize=8, fontweight="bold", va="center")
        elif value is None:
            panel.text(0.01, place, "no video", fontsize=7, va="center", style="italic")
        else:
            panel.barh(place, value, color=SKY, edgecolor="black", linewidth=0.4, height=0.75)
            panel.text(0.01, place, f"{value:.2f}", fontsize=7, va="center")
        if not is_group and mean is not None:
            panel.plot([mean, mean], [place - 0.5, place + 0.5], color="black", linestyle="--", linewidth=1)
    names = ["" if is_group else _plain(name) for name, _, is_group, _ in lines]
    panel.set_yticks(range(len(lines)), names, fontsize=7)
    panel.tick_params(axis="y", length=0)
    panel.set(xlim=(0, 1), ylim=(per_column - 0.4, -0.6))
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1])
    panel.tick_params(axis="x", labelsize=8)
    panel.set_xlabel("Average precision (dashed: mean of the group)", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def saliency(clips, saliencies, *, captions=None, title=None):
    """Which frames and regions made the decision: the lighter a region, the more the answer needs it.

    Below each frame, the bar is what the probability falls by when all of the frame is hidden. Of long clips 10 frames
    are shown, evenly spaced.

    Args:
        clips: uint8 `[clip, time, height, width, 3]`.
        saliencies: a `Saliency` for each, from `deepvideo_tf.occlusion_saliency`.
        captions: a text for each clip; None for none.
        title: above the picture.

    Returns:
        `Figure`.
    """
    num_frames = len(clips[0])
    shown = np.unique(np.linspace(0, num_frames - 1, min(num_frames, SHOWN_FRAMES)).round().astype(int))
    columns = len(clips) if len(shown) <= 2 else 1
    rows = math.ceil(len(clips) / columns)
    side_in = 2.1 if len(shown) <= 2 else 1.5
    block_in = side_in * len(shown) + 0.9
    figure = _figure(max(6, columns * block_in), rows * (2 * side_in + 1.9) + 0.4, title)
    blocks = figure.subfigures(rows, columns, squeeze=False).flat
    for number, (block, clip, found) in enumerate(zip(blocks, clips, saliencies, strict=True)):
        if captions is not None:
            text = textwrap.fill(_plain(captions[number], None), int(12 * block_in), break_on_hyphens=False)
            block.suptitle(text, fontsize=9)
        _draw_saliency(block, np.asarray(clip), found, shown)
    return figure


def _draw_saliency(block, clip, found, shown):
    originals, overlays, bars = block.subplots(3, len(shown), squeeze=False, height_ratios=[1.6, 1.6, 0.9])
    most = max(float(found.by_region.max()), 1e-9)
    ends = min(0.0, float(found.by_frame.min())), max(float(found.by_frame.max()), 1e-9)
    for column, frame in enumerate(shown):
        originals[column].imshow(clip[frame])
        originals[column].set_title(f"frame {frame + 1}", fontsize=8)
        overlays[column].imshow(overlay(clip[frame], found.by_region[frame] / most))
        bars[column].bar([0], [found.by_frame[frame]], width=0.5, color=SKY, edgecolor="black", linewidth=0.6)
        bars[column].axhline(0, color="black", linewidth=0.6)
        bars[column].set(xlim=(-0.5, 0.5), ylim=(1.1 * ends[0], 1.25 * ends[1]), xticks=[])
        bars[column].set_xlabel(f"{found.by_frame[frame]:+.3g}", fontsize=7)
        bars[column].tick_params(labelsize=7, labelleft=column == 0)
        for panel in (originals[column], overlays[column]):
            panel.set_xticks([])
            panel.set_yticks([])
    overlays[0].set_ylabel(f"region hidden:\nprobability lower by\n0 (dark) to {most:.3g} (light)", fontsize=7)
    bars[0].set_ylabel("frame hidden:\nprobability\nlower by", fontsize=7)


def overlay(frame, strength):
    """A grey frame with the strength of its regions over it, in colours whose brightness grows with it.

    Args:
        frame: uint8 `[height, width, 3]`.
        strength: float `[row, column]` of regions, 0 (what is below is taken for it) to 1.

    Returns:
        Float `[height, width, 3]`, 0 to 1.
    """
    height, width, _ = frame.shape
    rows, columns = strength.shape
    full = strength[np.arange(height) * rows // height][:, np.arange(width) * columns // width]
    grey = frame.mean(axis=-1, keepdims=True) / 255
    return 0.4 * grey + 0.6 * colormaps["cividis"](np.clip(full, 0, 1))[..., :3]


def views(clip, views, *, title=None):
    """What each stream of a two-stream net sees of a clip (section 3.2).

    Of long clips 5 frames are shown, evenly spaced. The box is where the fovea lies, found by its pixels.

    Args:
        clip: uint8 `[time, height, width, 3]`, as the model gets it.
        views: dict from the stream to uint8 `[time, height, width, 3]`, as `deepvideo_tf.stream_views` gives it of a
            clip.
        title: above the picture.

    Returns:
        `Figure`.
    """
    clip = np.asarray(clip)
    shown = np.unique(np.linspace(0, len(clip) - 1, min(len(clip), 5)).round().astype(int))
    streams = {"the clip": clip, **views}
    is_row = len(shown) == 1
    shape = (1, len(streams)) if is_row else (len(streams), len(shown))
    figure = _figure(max(6, 3 * shape[1]), 3.1 * shape[0] + 0.5, title)
    panels = figure.subplots(*shape, squeeze=False).reshape(len(streams), len(shown))
    for row, (name, frames) in zip(panels, streams.items(), strict=True):
        for panel, number in zip(row, shown, strict=True):
            height, width = frames.shape[1:3]
            panel.imshow(frames[number], interpolation="nearest")
            panel.set_title(
                f"{name}: {width} x {height} px" + (f", frame {number + 1}" if not is_row else ""), fontsize=9
            )
            panel.set_axis_off()
    place = _place_of(views["fovea"][shown[0]], clip[shown[0]]) if "fovea" in views else None
    if place is not None:
        side = views["fovea"].shape[1]
        for panel in panels[0]:
            for colour, style in (("black", "-"), ("white", "--")):  # seen on any picture
                box = Rectangle((place - 0.5, place - 0.5), side, side, fill=False, edgecolor=colour, linestyle=style)
                panel.add_patch(box)
    return figure


def _place_of(part, whole):
    """Where a square lies on the diagonal of a larger one, in pixels from its corner; None where it is not there."""
    size = len(part)
    for start in range(len(whole) - size + 1):
        if np.array_equal(whole[start : start + size, start : start + size], part):
            return start
    return None


def models(rows, *, measure="Video Hit@1", chance=None, title=None):
    """One number of several models with its interval, and the paper's beside it (Table 1).

    Args:
        rows: list of (name, value, (lower end, upper end) or None, the paper's value or None), from above.
        measure: what the number is.
        chance: what guessing reaches; None to leave it out.
        title: above the picture.

    Returns:
        `Figure`.
    """
    figure = _figure(7.5, 0.36 * len(rows) + 1.6, title)
    panel = figure.subplots()
    for place, (_, value, ends, papers) in enumerate(rows):
        if ends is not None:
            panel.plot(ends, [place, place], color=BLUE, linewidth=2, label="95% interval" if place == 0 else None)
        panel.plot(value, place, "o", color=BLUE, markersize=7, label="measured" if place == 0 else None)
        if papers is not None:
            panel.plot(papers, place, "D", color="black", markerfacecolor="white", markersize=6, zorder=3)
    if any(papers is not None for *_, papers in rows):
        panel.plot(
            [], [], "D", color="black", markerfacecolor="white", markersize=6, label="the paper, on its own data"
        )
    if chance is not None:
        panel.axvline(chance, color="black", linestyle=":", linewidth=1, label="chance")
    panel.set_yticks(range(len(rows)), [_plain(name) for name, *_ in rows], fontsize=9)
    panel.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel=measure)
    panel.grid(axis="x", color=GREY, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure
