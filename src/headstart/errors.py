"""Everything headstart raises on purpose.

HeadstartError                 catch this to catch them all
├── RecipeError                a recipe that cannot be carried out
├── DatasetError               images or labels that cannot be learned from
├── BadImage                   one file that is not a usable image (`.reason`)
├── BackboneError              an unknown backbone or cut
├── WeightsError               weights missing, damaged or of another network
├── EngineError                the inference engine refused
├── CacheError                 the feature cache cannot be used
├── StorageError               something that cannot be written: disk full, read-only, gone
├── ClassifierError            a saved classifier or run missing, damaged or too new
├── HeadError                  a head that cannot be trained on these features
└── MissingExtra               an optional package is not installed

Each message says what was expected, what was found and what to type next.
"""

MOST = 300  # letters of an exception of others that a message tells


def cannot_read(path: object, error: object, expected: str, advice: str) -> str:
    """The message about a file or folder that cannot be read.

    error: what was found: an exception, of whose text the first line is told, or a few words.
    advice: what to do or type next, in whole sentences without the last full stop.
    """
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
    first = reason.splitlines()[0][:MOST].rstrip(".") if reason else type(error).__name__
    return f"cannot read {path}: expected {expected}, found: {first}. {advice}"


class HeadstartError(Exception):
    """Base of every error headstart raises on purpose.

    >>> try:
    ...     headstart.load("photos/")
    ... except headstart.HeadstartError as error:
    ...     print(error)
    expected a run or a classifier, found no classifier.json in photos. Give the folder that ...
    """


class RecipeError(HeadstartError, ValueError):
    """A recipe that cannot be carried out."""


class DatasetError(HeadstartError, ValueError):
    """Images or labels that cannot be learned from."""


class BadImage(HeadstartError, ValueError):
    """One file that is not a usable image; `reason` says why in a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BackboneError(HeadstartError, ValueError):
    """An unknown backbone or cut; the message offers the nearest names."""


class WeightsError(HeadstartError):
    """Weights that are missing, damaged or belong to another network."""


class EngineError(HeadstartError):
    """The inference engine refused a model or an option."""


class CacheError(HeadstartError):
    """The feature cache cannot be read or written."""


class StorageError(HeadstartError, OSError):
    """Something that cannot be written: the disk is full, read-only or gone."""


class ClassifierError(HeadstartError):
    """A saved classifier or run that is missing, damaged or too new."""


class HeadError(HeadstartError, ValueError):
    """A head that cannot be trained on these features."""


class MissingExtra(HeadstartError, ImportError):
    """An optional package is not installed; the message names the extra."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional package. Type: pip install 'headstart[{extra}]'"
        )
        self.extra = extra
