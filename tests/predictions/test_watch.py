"""A watched folder: each image once, and only when it is complete."""

import os
from pathlib import Path

from headstart.predictions.watch import watch


def test_files_come_once_when_they_are_complete(tmp_path: Path) -> None:
    now = 1000.0

    def write(name: str, content: str) -> None:
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, (now, now))

    looks = watch(tmp_path, sleep=lambda _: None, clock=lambda: now)

    def look(seconds: float) -> list[str]:
        nonlocal now
        now += seconds
        return [item.path.name for item in next(looks)]

    write("old.jpg", "whole")
    assert look(5) == ["old.jpg"]
    write("growing.jpg", "a")
    write("film.crdownload", "a")
    assert look(1) == []
    write("growing.jpg", "ab")
    assert look(1) == []
    assert look(1) == ["growing.jpg"]
    write("ahead.jpg", "of our clock")
    os.utime(tmp_path / "ahead.jpg", (now + 1e6, now + 1e6))
    assert look(3) == []
    assert look(1) == []
    assert look(1) == ["ahead.jpg"]
    (tmp_path / "old.jpg").unlink()
    write("old.jpg", "again")
    assert look(9) == []


def test_many_are_handed_over_some_at_a_time(tmp_path: Path) -> None:
    for number in range(2500):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
        os.utime(tmp_path / f"{number}.jpg", (0, 0))
    looks = watch(tmp_path, sleep=lambda _: None)
    assert [len(next(looks)) for _ in range(4)] == [1000, 1000, 500, 0]
