"""The picture of imports: which package imports which, counted in the code.

python bench/imports.py [--out docs/images/imports.png]: one JSON line; with --out a picture,
which has nothing above its diagonal where every import runs along the arrow.
"""

import argparse
import ast
import json
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "headstart"
ORDER = ["errors", "system", "metrics", "images", "backbones", "data", "recipe", "report",
         "features", "store", "heads", "abstention", "saved", "classifier", "explain",
         "predictions", "serve", "audit", "selection", "tuning", "runs", "export", "demo",
         "estimator", "cli"]  # fmt: skip


def count_imports() -> Counter[tuple[str, str]]:
    """How many modules of one package import another, those inside functions among them."""
    arrows: Counter[tuple[str, str]] = Counter()
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            f"{node.module}.{alias.name}".split(".")[1]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headstart")
            for alias in node.names
        }
        arrows.update((package, name) for name in names if name != package)
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    known = packages | {path.stem for path in SOURCE.glob("[!_]*.py")}
    if known != set(ORDER):
        raise SystemExit(f"expected {sorted(ORDER)} in {SOURCE}, found {sorted(known)}: give each "
                         "its place in ORDER")  # fmt: skip
    return Counter({pair: n for pair, n in arrows.items() if set(pair) <= known})


def draw(arrows: Counter[tuple[str, str]], out: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(10.5, 8), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    places = {name: place for place, name in enumerate(ORDER)}
    for (package, imported), count in arrows.items():
        x, y = places[imported], places[package]
        colour = "#4878a8" if x < y else "#d1722e"  # against the arrow
        axis.add_patch(Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, facecolor=colour,
                                 alpha=0.25 + 0.09 * min(count, 8)))  # fmt: skip
        axis.text(x, y, str(count), ha="center", va="center", fontsize=9)
    axis.plot([-0.5, len(ORDER) - 0.5], [-0.5, len(ORDER) - 0.5], color="#999999", linewidth=0.8)
    axis.set_xlim(-0.5, len(ORDER) - 0.5)
    axis.set_ylim(len(ORDER) - 0.5, -0.5)
    axis.set_xticks(range(len(ORDER)), ORDER, rotation=45, ha="right")
    axis.set_yticks(range(len(ORDER)), ORDER)
    axis.set_title("How many modules of a package (row) import another (column)", loc="left")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    arrows = count_imports()
    against = [f"{a} -> {b}" for a, b in arrows if ORDER.index(a) <= ORDER.index(b)]
    if asked.out:
        draw(arrows, asked.out)
    print(json.dumps({
        "bench": "imports", "packages": len(ORDER), "modules": len(list(SOURCE.rglob("*.py"))),
        "arrows": len(arrows), "rightwards": against,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
