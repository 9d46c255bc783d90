"""A map lies on the image where the network saw it, whatever the resizing."""

import numpy as np
import pytest

from headstart.explain.overlay import AGAINST, FOR, overlay, place
from headstart.images.geometry import Geometry, Resize, resize


@pytest.mark.parametrize("how", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(120, 200), (200, 120), (97, 33), (40, 40)])
def test_a_mark_in_the_image_is_found_where_it_was(how: Resize, shape: tuple[int, int]) -> None:
    """A bright square is resized as the network sees it, and its brightness taken as the map."""
    geometry = Geometry(64, 48, how)
    image = np.zeros((*shape, 3), np.uint8)
    top, left = shape[0] // 2 - 10, shape[1] // 2 - 4
    image[top : top + 14, left : left + 12] = 255
    placed = place(resize(image, geometry)[..., 0] / 255.0, shape, geometry)
    assert placed.shape == shape
    rows, columns = np.nonzero(np.nan_to_num(placed) > 0.5)
    centre = rows.mean(), columns.mean()
    assert centre == pytest.approx((top + 6.5, left + 5.5), abs=1.0)
    assert np.isnan(placed).any() == (how == "crop" and shape[0] * 48 != shape[1] * 64)


def test_colours_say_for_and_against_and_what_was_not_seen() -> None:
    image = np.full((50, 100, 3), 128, np.uint8)
    values = np.zeros((50, 50))
    values[:, :10], values[:, 40:] = 2.0, -2.0
    drawn = overlay(image, values, Geometry(50, 50, "crop")).astype(int)
    assert drawn.shape == image.shape
    assert np.abs(drawn[25, 80] - AGAINST).sum() < np.abs(drawn[25, 80] - FOR).sum()
    assert np.abs(drawn[25, 28] - FOR).sum() < np.abs(drawn[25, 28] - AGAINST).sum()
    assert drawn[25, 5].max() < drawn[25, 50].min() / 2  # cropped off
    assert len(set(drawn[25, 50])) == 1  # grey where nothing speaks
    assert (drawn[25] == 255).all(axis=1).any()  # an outline for those who see no colours


def test_a_map_of_nothing_is_drawn() -> None:
    drawn = overlay(np.zeros((9, 9, 3), np.uint8), np.zeros((4, 4)))
    assert drawn.shape == (9, 9, 3)
