"""Classifies image files with the model beside it, without headstart.

    python run.py PHOTO...           class and probability of each
    python run.py --json PHOTO...    one JSON object a line, all probabilities
    python run.py --golden           the images in golden/ again, against what they gave at export
    --accuracy 0.99    say "not sure" unless so many answers are right, as in export.json
    --reject 0.05      say "none of these" of images unlike all that was trained on, at this share
                       of false alarms

Needs numpy, opencv-python-headless, pillow and what export.json names as `runtime`; pillow-heif for
HEIC. Every pixel is made as it was made in training: that is why this file is more than two lines.
"""

import json
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

with suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()
MOST = 50_000_000  # pixels of an image
Image.MAX_IMAGE_PIXELS = None  # the limit is our own
HERE = Path(__file__).parent
Answer = tuple[np.ndarray, "float | None"]  # (C,) probabilities, typicality where it can be told
Predict = Callable[[np.ndarray], Answer]


def read(path: "str | Path", height: int, width: int, interpolation: str) -> np.ndarray:
    """The upright RGB pixels (H, W, 3) of a file; large ones reduced by 2, 4 or 8 on the way."""
    least = (2500, 2500) if interpolation == "nearest" else (2 * height, 2 * width)
    with Image.open(path) as image:
        kind, full = image.format, image.size
        if full[0] * full[1] > MOST:
            raise ValueError(f"too many pixels ({full[0]}x{full[1]}, at most {MOST:,})")
        turn = orientation(image.info.get("exif"))
        if turn in (5, 6, 7, 8):
            least = least[::-1]
        factor = next((f for f in (8, 4, 2) if -(-full[1] // f) >= least[0]
                       and -(-full[0] // f) >= least[1]), 1)  # fmt: skip
        if kind == "JPEG" and image.mode in ("L", "RGB") and factor > 1:
            image.draft(image.mode, (full[0] // factor, full[1] // factor))
        image.load()
        pixels = to_rgb(image, 1.0 if kind == "TIFF" else 255.0)
    if turn in (2, 3):
        pixels = pixels[:, ::-1]
    if turn in (3, 4):
        pixels = pixels[::-1]
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if turn in (6, 7):
        pixels = pixels[:, ::-1]
    if turn in (7, 8):
        pixels = pixels[::-1]
    if image.size == full and factor > 1:  # no JPEG: the mean of blocks
        size = -(-pixels.shape[1] // factor), -(-pixels.shape[0] // factor)
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(pixels)


def orientation(exif: Any) -> int:
    """EXIF's 1 to 8; 1 where there is none or it makes no sense."""
    with suppress(KeyError, struct.error, TypeError):
        tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == 0x0112:
                (turn,) = struct.unpack_from(order + {3: "H", 4: "I"}[kind], tiff, entry + 8)
                return turn if 1 <= turn <= 8 else 1
    return 1


def to_rgb(image: Any, float_range: float) -> np.ndarray:
    """Any mode as RGB: transparency over white, 16 bits and floats by their range."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        top = float_range if image.mode == "F" else 65535.0
        within = np.clip(np.nan_to_num(values.astype(np.float32), posinf=top, neginf=0.0), 0, top)
        grey = np.rint(within * (255.0 / top)).astype(np.uint8)
        if isinstance(image.info.get("transparency"), int):
            grey[values == image.info["transparency"]] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    image = image.convert("LA") if image.mode == "La" else image
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255,) * 4), image)
    return np.array(image.convert("RGB"))


def resize(
    pixels: np.ndarray, height: int, width: int, resize: str, interpolation: str
) -> np.ndarray:
    """The network's input (height, width, 3): squashed, cut from the middle, or padded in black."""
    h, w = pixels.shape[:2]
    inner = height, width
    if resize == "crop" and h * width > w * height:
        rows = max(1, round(w * height / width))
        pixels = pixels[(h - rows) // 2 :][:rows]
    elif resize == "crop":
        columns = max(1, round(h * width / height))
        pixels = pixels[:, (w - columns) // 2 :][:, :columns]
    elif resize == "pad":
        scale = min(height / h, width / w)
        inner = (min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale))))
    pixels = interpolate(pixels, *inner, interpolation)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = pixels
    return canvas


def interpolate(pixels: np.ndarray, height: int, width: int, how: str) -> np.ndarray:
    """By area averaging where it shrinks and linearly where it grows, unless told otherwise."""
    h, w = pixels.shape[:2]
    if (h, w) == (height, width):
        return pixels
    if how == "nearest":  # as Pillow picks: the steps are added up one by one
        picks = []
        for size, count in ((h, height), (w, width)):
            steps = np.full(count, size / count)
            steps[0] *= 0.5
            picks.append(np.minimum(np.cumsum(steps).astype(np.intp), size - 1))
        return pixels[picks[0][:, None], picks[1]]
    flag = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}.get(how, cv2.INTER_AREA)
    if how == "antialias" and not (h >= height and w >= width):
        flag = cv2.INTER_LINEAR
        if h > height or w > width:  # one side shrinks and the other grows
            first = min(w, width), min(h, height)
            pixels = cv2.resize(pixels, first, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=flag))


def open_model(folder: Path, record: dict[str, Any]) -> Predict:
    """(H, W, 3) uint8 to (C,) probabilities and, where the model can tell, typicality."""
    path, kind = str(folder / record["model"]), record["kind"]
    if kind == "onnx":
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        # 8 bits do not overflow on processors without instructions for them.
        options.add_session_config_entry("session.x64quantprecision", "1")
        cpu = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers=cpu)
        names = ["probabilities", *(["typicality"] if record["none_of_these"] else [])]

        def run_onnx(pixels: np.ndarray) -> Answer:
            probabilities, *rest = session.run(names, {"image": pixels[None]})
            return probabilities[0], float(rest[0][0]) if rest else None

        return run_onnx
    if kind == "openvino":
        import openvino

        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(path, "CPU", hint)

        def run_openvino(pixels: np.ndarray) -> Answer:
            found = compiled(pixels[None])
            told = float(found["typicality"][0]) if record["none_of_these"] else None
            return np.array(found[0][0]), told

        return run_openvino
    if kind == "keras":
        import keras

        keras_model = keras.models.load_model(path)
        return lambda pixels: (np.asarray(keras_model.predict_on_batch(pixels[None]))[0], None)
    if kind == "savedmodel":
        import tensorflow

        serve = tensorflow.saved_model.load(path).signatures["serve"]
        return lambda pixels: (
            serve(image=tensorflow.constant(pixels[None]))["probabilities"][0].numpy(), None
        )  # fmt: skip
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    signature = interpreter.get_signature_runner()
    return lambda pixels: (signature(image=pixels[None])["probabilities"][0], None)


def predict(model: Predict, record: dict[str, Any], paths: "list[str]") -> "list[Answer | str]":
    """What the model tells of each file, or why it could not be used."""
    rows: list[Answer | str] = []
    for path in paths:
        try:
            how = record["geometry"]
            size = how["height"], how["width"]
            pixels = read(path, *size, how["interpolation"])
            rows.append(model(resize(pixels, *size, how["resize"], how["interpolation"])))
        except Exception as error:  # whatever a decoder makes of a file
            rows.append(f"{type(error).__name__}: {error}")
    return rows


def describe(record: dict[str, Any], row: np.ndarray) -> str:
    """The class, or those above their thresholds where an image may be in several, each with its
    probability.
    """
    classes, thresholds = record["classes"], record["thresholds"]
    if thresholds is None:
        return f"{classes[int(row.argmax())]} {row.max():.1%}"
    rows = zip(classes, row, thresholds, strict=True)
    said = [f"{c} {p:.1%}" for c, p, least in rows if p >= least]
    return "; ".join(said) or f"no class ({row.max():.1%} at most)"


def silence(
    record: dict[str, Any], answer: Answer, accuracy: "str | None", reject: "float | None"
) -> "str | None":
    """Why there had better be no answer: "not sure", "none of these"; None where there is one."""
    row, typicality = answer
    if reject is not None and typicality is not None and typicality <= reject:
        return "none of these"
    top = int(row.argmax())
    if accuracy is not None and row[top] < record["not_sure"][accuracy][top]:
        return "not sure"
    return None


def read_options(
    record: dict[str, Any], arguments: "list[str]"
) -> "tuple[list[str], str | None, float | None]":
    """The other arguments, --accuracy as export.json names it, and --reject. Ends the program where
    this export cannot tell.
    """
    others, given = list(arguments), {}
    for option in ("--accuracy", "--reject"):
        if option in others:
            place = others.index(option)
            given[option] = (others[place : place + 2][1:] or ["nothing"])[0]
            del others[place : place + 2]
    accuracy, reject = given.get("--accuracy"), given.get("--reject")
    if accuracy is not None and accuracy not in record["not_sure"]:
        known = ", ".join(record["not_sure"]) or "nothing: this export cannot tell"
        sys.exit(f"expected --accuracy with one of {known}, found {accuracy}")
    if reject is None:
        return others, accuracy, None
    if record["none_of_these"] is None:
        sys.exit(
            f"expected no --reject, found {reject}: this export cannot tell what is unlike all"
        )
    low, high = record["none_of_these"]["rates"]
    with suppress(ValueError):
        if low <= float(reject) <= high:
            return others, accuracy, float(reject)
    sys.exit(f"expected --reject with a share from {low:.2g} to {high:g}, found {reject}")


def replay(model: Predict, record: dict[str, Any]) -> int:
    """The golden images again; exit code 1 where one differs by more than the tolerance."""
    golden = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
    paths = [str(HERE / "golden" / file) for file in golden]
    worst, farthest, bad = 0.0, 0.0, []
    rows = predict(model, record, paths)
    for (file, known), row in zip(golden.items(), rows, strict=True):
        if isinstance(row, str):
            worst = 1.0
            bad.append(f"{file} ({row})")
            continue
        difference = float(np.abs(row[0] - np.array(known["probabilities"])).max())
        worst = max(worst, difference)
        if not difference <= record["tolerance"]:
            bad.append(f"{file} ({difference:.2g})")
        if row[1] is not None:
            difference = abs(row[1] - known["typicality"])
            farthest = max(farthest, difference)
            if not difference <= record["none_of_these"]["tolerance"]:
                bad.append(f"{file} (typicality {difference:.2g})")
    told = {"images": len(golden), "difference": worst, "tolerance": record["tolerance"]}
    if record["none_of_these"]:
        told |= {"typicality_difference": farthest,
                 "typicality_tolerance": record["none_of_these"]["tolerance"]}  # fmt: skip
    print(json.dumps({**told, "beyond": bad}))
    return int(bool(bad))


def main(arguments: "list[str]") -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        record = json.loads((HERE / "export.json").read_text(encoding="utf-8"))
        arguments, accuracy, reject = read_options(record, arguments)
        model = open_model(HERE, record)
    except ImportError as error:
        sys.exit(f"expected what README.md says to install, found: {error}")
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"expected the whole folder of the export beside run.py, found: {error}")
    if arguments[:1] == ["--golden"]:
        return replay(model, record)
    paths = [path for path in arguments if path != "--json"]
    rows = predict(model, record, paths)
    for path, row in zip(paths, rows, strict=True):
        if isinstance(row, str):
            told: dict[str, Any] = {"error": row}
            words = f"cannot be used: {row}"
        else:
            why = silence(record, row, accuracy, reject)
            told = {"answer": why or "answered", "probabilities": row[0].tolist()}
            if row[1] is not None:
                told["typicality"] = row[1]
            words = f"{why} {row[0].max():.1%}" if why else describe(record, row[0])
        print(json.dumps({"image": path, **told}) if "--json" in arguments else f"{path}  {words}")
    return int(any(isinstance(row, str) for row in rows))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
