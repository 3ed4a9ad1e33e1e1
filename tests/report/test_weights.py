import matplotlib.image
import pytest

from slime.report.weights import ModePoints, draw_weights


@pytest.mark.parametrize(
    "modes",
    [
        [
            ModePoints("sample_mean", (1, 20, 3000), (0.3, 0.3, 0.3)),
            ModePoints("constant, L = 8", (1, 20, 3000), (0.01, 0.2, 30.0)),
        ],
        [ModePoints("custom, a:b", (7, 7), (0.0, 0.5))],  # one length, and a weight of zero
    ],
    ids=["several modes", "one length"],
)
def test_a_figure_of_every_mode_is_written(modes, tmp_path):
    draw_weights(modes, tmp_path / "weights.png", title="iteration 0 of saved")
    picture = matplotlib.image.imread(tmp_path / "weights.png")
    height, width, _ = picture.shape
    assert width > 1000
    assert height > 500
    colours = {tuple(c) for row in (picture[::3, ::3, :3] * 4).round() for c in row}
    assert len(colours) > 5  # ink, grid and a colour for each mode
