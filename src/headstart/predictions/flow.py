"""The way of the answers: image, prediction, row."""

from collections.abc import Callable, Iterable, Sequence

from headstart.classifier import Prediction
from headstart.data.item import Item
from headstart.predictions.once import Ask, Done, predict_once
from headstart.predictions.output import Output
from headstart.predictions.rows import Tally
from headstart.system.progress import Progress


def predict_into(
    output: Output,
    ask: Ask,
    batches: Iterable[Iterable[Item]],
    *,
    done: Done,
    tally: Tally,
    also: Sequence[Callable[[Item, Prediction], None]] = (),
    progress: Progress,
) -> None:
    """A row in `output` for each image that is not `done`, in order; memory stays flat.

    ask: a classifier's `stream`. batches: after each of them all rows can be read by others; those
    of a watched folder and of a camera have no end. also: what else is done with each,
    before its row is written: what has a row had that done too, wherever the process is killed.
    """
    for batch in batches:
        for item, prediction in predict_once(ask, (i for i in batch if not done.take(i.name))):
            for act in also:
                act(item, prediction)
            output.write(prediction)
            tally.add(prediction)
            progress.advance()
        output.flush()
