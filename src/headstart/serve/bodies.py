"""The images in a request's body: one as it is, several as a form, or base64 in JSON."""

import base64
import binascii
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headstart.images.decode import recognise
from headstart.serve.limits import Limits
from headstart.system.json import loads
from headstart.system.text import escape

QUICK = 4_000_000  # pixels that are decoded in some 50 ms, whatever they show
QUICK_JPEG = 16_000_000  # of one scan: decoded at reduced scale
SCANS = 20  # of a JPEG: ten are usual
LONG = 200  # letters of a name


class Refused(Exception):
    """A request that is not carried out. status: of HTTP. The text is told to the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Sent:
    """An image of a request. name: as the client calls it, or `image 1`."""

    name: str
    content: bytes


FORMS = (
    "an image as the body (Content-Type: image/jpeg), a form with files (multipart/form-data) or "
    'JSON {"images": [{"data": "BASE64"}]}'
)


async def read_images(content_type: str, body: bytes, limits: Limits) -> list[Sent]:
    """The images of a body, by its content type. Raises Refused for whatever is none."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        if not body:
            raise Refused(400, f"expected an image, found an empty body. Send {FORMS}")
        return [Sent("image 1", body)]
    if kind == "multipart/form-data":
        files, fields = await read_form(content_type, body, limits.images)
        _check_alone(fields)
        images = [Sent(name, content) for _, name, content in files]
    elif kind == "application/json":
        images = _from_json(body, limits.images)
    else:
        found = repr(kind[:LONG]) if kind else "no Content-Type"
        raise Refused(415, f"expected {FORMS}, found {found}")
    if not images:
        raise Refused(400, f"expected at least one image, found none. Send {FORMS}")
    return images


async def read_form(
    content_type: str, body: bytes, most: int
) -> tuple[list[tuple[str, str, bytes]], dict[str, str]]:
    """Field, name and content of each file of a form, and its other fields. Nothing reaches the
    disk. Raises Refused for a form that is damaged or has too many files.
    """
    from starlette.datastructures import Headers, UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    class InMemory(MultiPartParser):
        spool_max_size = len(body) + 1

    async def once() -> Any:
        yield body

    try:
        headers = Headers({"content-type": content_type})
        form = await InMemory(headers, once(), max_files=most, max_fields=most).parse()
    except MultiPartException as error:
        if "Too many" in error.message:
            raise Refused(413, f"expected at most {most} files a request, found more") from None
        found = escape(error.message)[:LONG]
        raise Refused(400, f"expected a whole form, found: {found}") from None
    except Exception:  # what the parser makes of odd headers: of many kinds
        raise Refused(400, "expected a whole form, found a damaged one") from None
    files, fields = [], {}
    for number, (key, value) in enumerate(form.multi_items(), 1):
        if isinstance(value, UploadFile):
            name = escape(value.filename or "")[:LONG] or f"image {number}"
            files.append((key, name, await value.read()))
        else:
            fields[key] = value
    await form.close()
    return files, fields


def _check_alone(others: Iterable[str]) -> None:
    """Raises Refused for what stands beside the images: silently passed over, an option that does
    nothing would be taken for one that does.
    """
    for name in others:
        raise Refused(400, f"expected nothing but images in the body, found {escape(name)[:LONG]!r}"
                      ". Options go into the address: /v1/predict?model=NAME")  # fmt: skip


def _from_json(body: bytes, most: int) -> list[Sent]:
    content = read_object(body)
    images = content.pop("images", None)
    _check_alone(content)
    if not isinstance(images, list):
        raise Refused(400, 'expected JSON {"images": [{"data": "BASE64"}]}, found no such list')
    if len(images) > most:
        raise Refused(413, f"expected at most {most} images a request, found {len(images)}")
    sent = []
    for number, image in enumerate(images, 1):
        entry = {"data": image} if isinstance(image, str) else image
        data = entry.get("data") if isinstance(entry, dict) else None
        name = entry.get("name", "") if isinstance(entry, dict) else None
        if not isinstance(data, str) or not isinstance(name, str):
            raise Refused(
                400, f'expected {{"name": "TEXT", "data": "BASE64"}} as image {number}, found '
                "something else",
            )  # fmt: skip
        sent.append(Sent(escape(name)[:LONG] or f"image {number}", from_base64(data, number)))
    return sent


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises Refused if it is none."""
    try:
        content = loads(body)
    except ValueError:  # UnicodeDecodeError too
        raise Refused(400, "expected a JSON object, found no JSON") from None
    if not isinstance(content, dict):
        raise Refused(400, f"expected a JSON object, found {type(content).__name__}")
    return content


def from_base64(text: str, number: int) -> bytes:
    """The bytes; a data URL's beginning is left out. Raises Refused naming the image."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, f"expected image {number} in base64, found other text") from None


def is_quick(content: bytes) -> bool:
    """Whether an image is surely decoded in little time, by its first bytes."""
    kind = recognise(content)
    if kind == "Png" and len(content) >= 24:
        width, height = struct.unpack_from(">II", content, 16)
        return bool(width * height <= QUICK)
    if kind == "Jpeg":
        return _pixels_of_jpeg(content) <= QUICK_JPEG and content.count(b"\xff\xda") <= SCANS
    return kind == "WebP" and len(content) <= QUICK // 10  # its headers are of three kinds


_FRAMES = {0xC0, 0xC1, 0xC2}
MOST_SEGMENTS = 200


def _pixels_of_jpeg(content: bytes) -> int:
    """As its header says, four times as many where it is progressive; too many where it does not
    say.
    """
    position = 2
    for _ in range(MOST_SEGMENTS):
        if position + 9 > len(content) or content[position] != 0xFF:
            break
        marker = content[position + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return int(height * width * (4 if marker == 0xC2 else 1))
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return QUICK_JPEG + 1
