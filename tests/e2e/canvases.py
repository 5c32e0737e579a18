"""What the volume viewer shows: its canvases as pixels, its line at the crosshair as words."""

import io
import re

import numpy as np
from PIL import Image

from dashboards.slices import rgb

VIEWER = ".mlv"


def wait_for_viewer(page, shown="full", timeout_s=60):
    """Wait until the viewer's volumes stand, in a resolution."""
    page.wait_for_function(
        "([place, shown]) => document.querySelector(place)?.dataset.shown === shown",
        arg=[VIEWER, shown], timeout=timeout_s * 1000,
    )  # fmt: skip


def set_overlay(page, percent):
    """Move the overlay's slider; at 100 percent a class has exactly its color."""
    page.get_by_label("Overlay, percent").fill(str(percent))


def pixels(page, number=0):
    """One canvas as it stands on the screen, (H, W, 3)."""
    shot = page.locator(f"{VIEWER} canvas").nth(number).screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def of_color(shown, color):
    """How many pixels have exactly a color, ``#rrggbb``."""
    return int((shown == np.array(rgb(color))).all(axis=2).sum())


def readout(page, number=0):
    """What the line below a canvas says of the crosshair."""
    return page.locator(f"{VIEWER} .mlv-readout").nth(number).inner_text()


def voxel(page, number=0):
    """The voxel at the crosshair, on the file's own axes."""
    found = re.search(r"voxel \((\d+), (\d+), (\d+)\)", readout(page, number))
    assert found, readout(page, number)
    return tuple(map(int, found.groups()))
