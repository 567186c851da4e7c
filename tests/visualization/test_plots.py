import io
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import deepvideo_tf
from deepvideo_tf.errors import ConfigError, DeepVideoError
from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.saliency import Saliency


def pixels_of(figure):
    """The picture, after a look at whether its file is a whole PNG of the stated size."""
    content = plots.to_png(figure)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.size == tuple(int(side_in * plots.DPI) for side_in in figure.get_size_inches())
        image.load()
        return np.asarray(image.convert("RGB"))


def texts_of(panel):
    return [text.get_text() for text in panel.texts]


class TestColourfulness:
    def test_closed_form_cases(self):
        rng = np.random.default_rng(0)
        shape = rng.normal(size=(2, 11, 11, 1))
        hue = np.array([1, -1, 0])
        cases = [
            (shape * [1, 1, 1], 0),
            (shape * hue, 1),
            (shape * [1, 0, 0], 2 / 3),
            # Grey and hue are at right angles: energies 3 * 4 and 2 * 1.
            (shape * (2 * np.ones(3) + hue), 2 / 14),
        ]
        found = plots.colourfulness(np.stack([one for one, _ in cases]))
        np.testing.assert_allclose(found, [expected for _, expected in cases], atol=1e-12)

    def test_random_filters_have_two_thirds_on_average(self):
        random = np.random.default_rng(0).normal(size=(96, 1, 11, 11, 3))
        assert plots.colourfulness(random).mean() == pytest.approx(plots.RANDOM_COLOURFULNESS, abs=0.01)

    def test_a_filter_of_zeros_has_none(self):
        assert math.isnan(plots.colourfulness(np.zeros((1, 1, 3, 3, 3)))[0])


class TestFilters:
    def test_each_is_scaled_by_itself_and_the_colourful_come_first(self):
        grey = np.full((1, 1, 3, 3, 3), 0.25)
        red_minus_green = np.full((1, 1, 3, 3, 3), [4.0, -4.0, 0.0])
        both = np.concatenate([grey, red_minus_green])
        figure = plots.filters({"context": both, "fovea": grey})
        context, fovea = (panel for panel in figure.axes if panel.images)
        assert context.get_title() == "context: colourfulness 0.50, 2 filters of 3 x 3 px"
        assert fovea.get_title() == "fovea: colourfulness 0.00, 1 filters of 3 x 3 px"
        mosaic = context.images[0].get_array()
        np.testing.assert_allclose(mosaic[2, 2], [1, 0, 0.5])
        np.testing.assert_allclose(mosaic[2, 7], [1, 1, 1])
        np.testing.assert_allclose(mosaic[0], 1)  # the rim
        pixels_of(figure)

    def test_frames_are_a_strip_with_the_earliest_at_the_left(self):
        filters = np.zeros((1, 4, 2, 2, 3))
        filters[0, 1] = -1
        (mosaic,) = (panel.images[0].get_array() for panel in plots.filters({"frame": filters}).axes if panel.images)
        assert mosaic.shape == (4, 10, 3)
        assert mosaic[1, :, 0].tolist() == [1, 0.5, 0.5, 0, 0, 0.5, 0.5, 0.5, 0.5, 1]


class TestPredictions:
    def test_classes_are_ranked_and_a_true_one_below_is_added(self):
        found = plots.ranked_classes([0.1, 0.5, 0.05, 0.3, 0.05], [2], 2)
        assert found == [(1, 1, 0.5, False), (2, 3, 0.3, False), (4, 2, 0.05, True)]
        assert plots.ranked_classes([0.1, 0.9], [1], 5) == [(1, 1, 0.9, True), (2, 0, 0.1, False)]
        assert plots.ranked_classes([0.1, 0.9], [], 1) == [(1, 1, 0.9, False)]

    def test_the_true_class_bears_the_hatch_and_the_word(self):
        frames = np.zeros((2, 8, 8, 3), np.uint8)
        figure = plots.predictions(
            frames, [[0.7, 0.2, 0.06, 0.04]] * 2, [[0], [3]], ["a", "cash $1 or $2", "c", "d"], names=["x", "y"], top=2
        )
        pictures, bars = figure.axes[::2], figure.axes[1::2]
        assert [panel.get_title() for panel in pictures] == ["✓ right\nx", "✗ wrong\ny"]
        hatched = [[bar.get_width() for bar in panel.patches if bar.get_hatch()] for panel in bars]
        assert hatched == [[0.7], [0.04]]
        assert texts_of(bars[0]) == ["a 0.70 (true)", r"cash \$1 or \$2 0.20"]
        assert texts_of(bars[1]) == ["a 0.70", r"cash \$1 or \$2 0.20", "d 0.04 (true, rank 4)"]
        pixels_of(figure)


class TestCurves:
    def test_training_and_validation_share_a_panel(self):
        history = {
            "learning_rate": [1e-3, 1e-4],
            "loss": [2.0, 1.0],
            "val_loss": [3.0, math.nan],
            "hit_at_1": [0.1, 0.5],
        }
        figure = plots.curves(history)
        assert [panel.get_title() for panel in figure.axes] == ["Loss", "Clip Hit@1", "Learning rate"]
        train, validation = figure.axes[0].lines
        assert train.get_xdata().tolist() == [1, 2]
        assert list(train.get_ydata()) == history["loss"]
        assert validation.get_ydata()[0] == 3
        assert train.get_linestyle() != validation.get_linestyle()
        assert figure.axes[2].get_yscale() == "log"
        pixels_of(figure)

    def test_a_history_is_read_whatever_became_of_it(self, tmp_path):
        path = tmp_path / "history.csv"
        path.write_text("epoch,loss\n0,0.5\nx,1\n1,\n")
        history = plots.read_history(path)
        assert history["epoch"] == [0, 1]
        assert history["loss"][0] == 0.5
        assert math.isnan(history["loss"][1])
        path.write_text("epoch,loss\n")
        with pytest.raises(ConfigError, match="history.csv: expected the history of a run, found no epoch"):
            plots.read_history(path)
        with pytest.raises(ConfigError, match="nothing.csv: the curves cannot be read: No such file"):
            plots.read_history(tmp_path / "nothing.csv")


class TestConfusion:
    def test_rows_are_parts_and_cells_hold_counts(self):
        figure = plots.confusion([[3, 1], [0, 0]], ["a", "b"])
        panel = figure.axes[0]
        assert panel.images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]
        assert texts_of(panel) == ["3", "1"]
        assert [patch.get_hatch() for patch in panel.patches] == ["xxx"]  # the class without a video
        pixels_of(figure)

    @pytest.mark.parametrize("count", [6, 27, 101])
    def test_names_do_not_overlap(self, count):
        figure = plots.confusion(np.eye(count, dtype=int), [f"a class of a long name {n}" for n in range(count)])
        height_px, width_px = pixels_of(figure).shape[:2]
        panel = figure.axes[0]
        for labels, side in ((panel.get_xticklabels(), "x"), (panel.get_yticklabels(), "y")):
            boxes = [label.get_window_extent() for label in labels]
            assert len(boxes) == count
            assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width_px and box.y1 <= height_px for box in boxes)
            spans = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
            assert all(one[1] <= other[0] + 1 for one, other in itertools.pairwise(spans))


class TestAveragePrecision:
    AP = {"a": 0.5, "b": 1.0, "c": None, "d": 0.25}  # noqa: RUF012

    def test_classes_are_sorted_within_groups(self):
        assert plots.ranked_by_group(self.AP) == [("all classes", pytest.approx(1.75 / 3), ["b", "a", "d", "c"])]
        found = plots.ranked_by_group(self.AP, {"first": ["d", "a"], "none": ["c"]})
        assert found == [("first", 0.375, ["a", "d"]), ("none", None, ["c"]), ("other classes", 1.0, ["b"])]

    def test_bars_are_as_long_as_their_values(self):
        figure = plots.average_precision(self.AP, groups={"first": ["d", "a"]})
        (panel,) = figure.axes
        assert [bar.get_width() for bar in panel.patches] == [0.5, 0.25, 1.0]
        assert texts_of(panel) == ["first: mAP 0.38", "0.50", "0.25", "other classes: mAP 1.00", "1.00", "no video"]
        pixels_of(figure)

    def test_many_classes_take_columns(self):
        figure = plots.average_precision({f"class {number}": number / 100 for number in range(101)})
        assert len(figure.axes) == 2
        assert sum(len(panel.patches) for panel in figure.axes) == 101


class TestSaliency:
    @pytest.mark.parametrize("num_frames", [1, 12])
    def test_a_bar_a_frame(self, num_frames):
        clips = np.zeros((1, num_frames, 12, 12, 3), np.uint8)
        by_frame = np.linspace(-0.1, 0.5, num_frames)
        found = Saliency(0.9, np.ones((num_frames, 3, 3)), by_frame)
        figure = plots.saliency(clips, [found], captions=["a clip"])
        bars = [patch.get_height() for panel in figure.axes for patch in panel.patches]
        assert len(bars) == min(num_frames, 10)
        assert bars[0] == by_frame[0]
        assert bars[-1] == by_frame[-1]
        pixels_of(figure)

    def test_regions_are_the_lighter_the_stronger_in_grey_too(self):
        frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        found = plots.overlay(frame, np.array([[0.0, 1.0], [0.5, -3.0]]))
        grey = found @ [0.299, 0.587, 0.114]
        none, all_, half, below = grey[:4, :4], grey[:4, 4:], grey[4:, :4], grey[4:, 4:]
        assert none.max() < all_.min()
        assert none.mean() < half.mean() < all_.mean()
        assert below.max() < all_.min()


class TestViews:
    def test_the_box_lies_where_the_fovea_is(self):
        clip = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
        figure = plots.views(clip, {"context": clip[:, ::2, ::2], "fovea": clip[:, 5:15, 5:15]})
        assert len(figure.axes) == 9
        assert {box.get_bbox().bounds for box in figure.axes[0].patches} == {(4.5, 4.5, 10, 10)}
        assert not figure.axes[3].patches
        pixels_of(figure)


def test_a_notebook_shows_a_figure_without_pyplot():
    code = (
        "import sys\nfrom deepvideo_tf import plots\nfigure = plots.curves({'loss': [1.0, 2.0]})\n"
        "assert figure._repr_png_().startswith(b'\\x89PNG')\nassert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.delattr(deepvideo_tf, "plots")
    monkeypatch.delattr(deepvideo_tf.visualization, "plots")
    monkeypatch.delitem(sys.modules, "deepvideo_tf.visualization.plots")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DeepVideoError, match=r"pictures need the extra: pip install 'deepvideo-tf\[plots\]'"):
        _ = deepvideo_tf.plots


def test_figures_are_public_under_their_names():
    assert all(getattr(deepvideo_tf.plots, name) is draw for name, draw in plots.FIGURES.items())
