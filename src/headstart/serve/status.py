"""The status page: a table a model, for people; `/v1/status` holds the same for programs."""

from html import escape
from typing import Any


def draw_status(status: dict[str, Any]) -> str:
    """As HTML, without scripts."""
    rows = []
    for model in status["models"]:
        drift = model["drift"]
        if drift is None:
            told = "cannot be told: the classifier does not know what it was trained on"
        elif not drift["windows"]:
            told = f"not yet told: after {drift['window']} images"
        else:
            word = "unlike the training images" if drift["now"] else "like the training images"
            told = (
                f"the last {drift['window']} images are {word} (p = {drift['p_values'][-1]:.3g}); "
                f"{drift['alarms']:,} of {drift['windows']:,} windows were unlike, of windows "
                f"without drift about {drift['level']:.1%} are called so"
            )
        note = " (the version on disk cannot be loaded)"
        version = model["version"] + note * model["newer_version_cannot_be_loaded"]
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in (version, told))
        rows.append(f'<tr><th scope="row">{escape(model["name"])}</th>{cells}</tr>')
    queue = status["queue"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>headstart: status</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="page.css">'
        "<main><h1>Status</h1><table><thead><tr>"
        '<th scope="col">Model</th><th scope="col">Version</th><th scope="col">Drift</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
        f"<p>{queue['quick']} images waiting or under way, and {queue['slow']} large ones.</p>"
        '<p><a href="./">Classify images</a></p></main></html>'
    )
