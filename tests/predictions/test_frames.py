"""Pictures of a video."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from headstart.errors import DatasetError
from headstart.images.geometry import Geometry
from headstart.predictions.frames import is_device, read_frames


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Three red pictures and three blue ones, ten a second."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(6):
        colour = (0, 0, 200) if number < 3 else (200, 0, 0)  # OpenCV's blue comes first
        writer.write(np.full((48, 64, 3), colour, np.uint8))
    writer.release()
    return path


def test_a_video_is_read_picture_by_picture(video: Path) -> None:
    frames = list(read_frames(str(video)))
    assert [frame.name.removeprefix(str(video)) for frame in frames][:2] == [
        "#1 0.000s",
        "#2 0.100s",
    ]
    assert len({frame.name for frame in frames}) == 6
    first, last = (f.prepare(Geometry(8, 8)).mean(axis=(0, 1)) for f in (frames[0], frames[5]))
    assert first[0] > 150 > first[2]
    assert last[2] > 150 > last[0]


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"none")
    with pytest.raises(DatasetError, match=r"found no video in .*x\.mp4"):
        list(read_frames(str(tmp_path / "x.mp4")))
    with pytest.raises(DatasetError, match="found nothing at nowhere"):
        list(read_frames("nowhere"))
    with pytest.raises(DatasetError, match=r"found the folder .*Type: --watch"):
        list(read_frames(str(tmp_path)))
    assert is_device("0")
    assert not is_device("0.mp4")
