"""What commands print of a run."""

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.runs.folder import Run
    from headstart.system.progress import Progress


def reporter(quiet: bool, as_json: bool) -> "Progress":
    """What tells the user how the work goes."""
    from headstart.system.progress import Silent, Terminal

    return Silent() if quiet or as_json else Terminal()


def show(run: "Run", quiet: bool, as_json: bool) -> None:
    """The result of a training: a short summary, the folder alone, or one JSON object."""
    import json

    if as_json:
        print(json.dumps(summary(run), ensure_ascii=False))
    elif quiet:
        print(run.folder)
    else:
        from headstart.report.words import summary as in_words

        record = run.record
        cache, seconds = record["cache"], record["seconds"]
        if run.history:
            from headstart.report.plots import curves_text

            print(curves_text(run.history) + "\n")
        print(in_words(run.metrics))
        if record["verdict"]:
            print(f"\n{record['verdict']}")
        print(
            f"\n{seconds['total']:.1f} s; features: {cache['hits']:,} from the cache, "
            f"{cache['misses']:,} computed\n"
            f"Run: {run.folder}\n"
            f"Next: headstart predict {shlex.quote(str(run.folder))} NEW_PHOTOS"
        )


def summary(run: "Run") -> dict[str, Any]:
    """Everything a script needs to know of a run."""
    record = run.record
    return {
        "run": str(run.folder),
        "classes": record["classes"],
        "images": record["images"],
        "metrics": {split: metrics.to_dict() for split, metrics in run.metrics.items()},
        "cache": record["cache"],
        "seconds": record["seconds"],
        "history": record["history"],
        "verdict": record["verdict"],
        "warnings": record["warnings"],
    }
