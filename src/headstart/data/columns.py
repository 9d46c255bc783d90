"""What the columns of a table of images are called."""

from collections.abc import Iterable

COLUMNS = {
    "path": ("path", "image", "file", "filename", "file_name", "image_path", "filepath", "img",
             "images"),
    "label": ("label", "class", "category", "target", "class_name", "labels"),
    "split": ("split", "subset", "set", "partition"),
}  # fmt: skip


def find_column(part: str, names: Iterable[str]) -> str | None:
    """The column that holds it ("path", "label" or "split"), however it is written; or None."""
    by_lower = {name.strip().lower(): name for name in names}
    return next((by_lower[word] for word in COLUMNS[part] if word in by_lower), None)
