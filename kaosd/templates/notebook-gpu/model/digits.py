"""The handwritten digits: where they are, how they are read, and a small classifier.

Edit this file in your editor and save it: the notebook beside it has the change when its next cell runs.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

SIDE = 8  # an image has 8 x 8 pixels
INK = 16  # the darkest pixel


def data_directory() -> Path:
    """Where the attached data is: /pfs/<repository> in a container, else the directory that KAOS_DATA names."""
    in_container = Path("/pfs", os.environ.get("DATA_REPO") or "none")
    if in_container.is_dir():
        return in_container
    if not os.environ.get("KAOS_DATA"):
        raise FileNotFoundError("no data is attached: give the notebook a data directory")
    return Path(os.environ["KAOS_DATA"])


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n x 8 x 8, 0 to 16) and labels (n) of "training", "validation" or "test"."""
    directory = data_directory() / "features" / part
    files = sorted(directory.glob("*_mini.csv"))
    if not files:
        raise FileNotFoundError(f"{directory} holds no *_mini.csv")
    rows = np.concatenate([np.loadtxt(file, dtype=int, delimiter=",", skiprows=1, ndmin=2) for file in files])
    return rows[:, 1:].reshape(-1, SIDE, SIDE), rows[:, 0]


def show(images: np.ndarray, titles: np.ndarray, columns: int = 10) -> None:
    """Draw images in rows, each with its title above."""
    rows = -(-len(images) // columns) or 1
    figure, axes = plt.subplots(rows, columns, figsize=(columns, 1.3 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=INK)
        axis.set_title(title, fontsize=9)
    figure.tight_layout()
    plt.show()


class Neighbours:
    """Recognises a digit by the training images that look most like it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, count: int = 3) -> None:
        self.known = images.reshape(len(images), -1).astype(float)
        self.labels = labels
        self.count = count

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The label that most of the nearest training images carry, for each image."""
        asked = images.reshape(len(images), -1).astype(float)
        # |a - b|² = |a|² - 2ab + |b|²; |a|² is the same for all neighbours of one image
        distances = (self.known**2).sum(axis=1) - 2 * asked @ self.known.T
        nearest = np.argpartition(distances, self.count, axis=1)[:, : self.count]
        return np.array([np.bincount(votes, minlength=10).argmax() for votes in self.labels[nearest]])


def accuracy(model: Neighbours, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images that the model recognises."""
    return float((model.predict(images) == labels).mean())
