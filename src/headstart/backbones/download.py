"""Fetching files: the only module that uses the network, for the commands whose job it is.

A file arrives whole or not at all: its bytes gather in NAME.part, its length and checksum are
compared, then it takes its name. A fetch that broke off goes on where it stopped, provided the
server still has the same file (its ETag or date is kept beside the part).
"""

import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from headstart.backbones.catalogue import backbone
from headstart.errors import WeightsError
from headstart.system.atomic import write_atomically
from headstart.system.places import cache_folder

CHUNK = 256 * 1024
Progress = Callable[[int, int | None], None]


def default_weights_folder() -> Path:
    """Where fetched weights are kept, and where a file brought by hand is looked for."""
    return cache_folder() / "weights"


def address(name: str) -> tuple[str, str | None]:
    """Where Keras publishes a backbone's weights without the top, and their checksum if it says.

    Keras itself is asked, once; the answer is kept. Raises WeightsError for a backbone whose
    weights come with a package.
    """
    entry = backbone(name)
    if entry.bundled:
        raise WeightsError(
            f"the weights of {entry.name} come with a package ({entry.source}): nothing to fetch"
        )
    note = cache_folder() / "addresses" / f"{entry.name}.json"
    answer = _read_address(note)
    if answer is None:
        from headstart.backbones.keras_builder import in_child

        answer = in_child({"task": "address", "backbone": entry.name})
        write_atomically(note, json.dumps(answer).encode())
    return answer["url"], _md5(answer)


def known_files(cache: Path) -> dict[str, tuple[str, str | None]]:
    """Backbone and checksum, by the name of the weights file, of every address in `cache`."""
    answers = {note.stem: _read_address(note) for note in (cache / "addresses").glob("*.json")}
    return {
        file_name(answer["url"]): (backbone, _md5(answer))
        for backbone, answer in answers.items()
        if answer is not None
    }


def file_name(url: str) -> str:
    """What a file fetched from there is called: the last word of the address, without its query.
    Raises WeightsError where that names no file or is neither http nor https.
    """
    _check_address(url)
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    if name in ("", ".", "..") or "\0" in name:
        raise WeightsError(
            f"expected the address of a file, found {url}. Give one that ends in its name, such as "
            "https://.../NAME.h5"
        )
    return name


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        fetched = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fetched = False
    if not fetched:
        raise WeightsError(
            f"expected an address that begins with https:// or http://, found {url}. A file that "
            "is already here needs no fetching. Type: headstart weights fetch https://.../NAME.h5, "
            "or headstart fetch https://.../photos.zip"
        )


def _read_address(note: Path) -> dict[str, Any] | None:
    """What Keras answered; None if that is not kept or damaged: Keras is asked again."""
    try:
        answer = json.loads(note.read_text(encoding="utf-8"))
        return {"url": str(answer["url"]), "md5": answer["md5"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _md5(answer: dict[str, Any]) -> str | None:
    return f"md5:{answer['md5']}" if answer["md5"] else None


def fetch(
    url: str,
    target: Path,
    *,
    checksum: str | None = None,
    progress: Progress | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
    pause: float = 1.0,
) -> Path:
    """The file at `url`, in `target`, whole or not at all.

    checksum: "sha256:..." or "md5:...". progress: called with bytes done and in all. timeout,
    pause: seconds. A target that is already there is kept if it fits the checksum.
    Raises WeightsError: no network, refused, too short, another file than expected, an address
    that is neither http nor https.
    """
    _check_address(url)
    if target.is_file() and (checksum is None or fits(target, checksum)):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    last: Exception | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _continue(url, part, progress, timeout)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 416, 429):
                raise _failed(url, target, f"the server answered {error.code}") from error
            if error.code == 416:  # the part is longer than the file
                _forget(part)
            last = error
        except (OSError, http.client.HTTPException, _Short) as error:
            if isinstance(getattr(error, "reason", None), Exception) and "CERTIFICATE" in str(
                error
            ):
                raise _failed(url, target, "the server's certificate is not trusted") from error
            last = error
    else:
        raise _failed(url, target, f"{attempts} attempts failed, the last with: {last}") from last
    if checksum is not None and not fits(part, checksum):
        actual = _checksum(part, checksum.split(":")[0])
        _forget(part)
        raise WeightsError(
            f"{url}: expected {checksum}, found {actual}: the file was removed. {_again(target)}"
        )
    if checksum is None and _begins_as_page(part):
        _forget(part)
        raise WeightsError(
            f"{url}: expected a file, found a web page: the file was removed. {_again(target)}"
        )
    part.replace(target)
    _note(part).unlink(missing_ok=True)
    return target


def _begins_as_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip()[:1] == b"<"


class _Short(Exception):
    """Fewer or more bytes came than the server had said."""


def _continue(url: str, part: Path, progress: Progress | None, timeout: float) -> None:
    """Fetch what `part` still lacks."""
    have = part.stat().st_size if part.is_file() else 0
    validator = _note(part).read_text() if have and _note(part).is_file() else ""
    request = urllib.request.Request(url, headers={"User-Agent": "headstart"})
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    opener = urllib.request.build_opener(_NoDowngrade())
    with opener.open(request, timeout=timeout) as response:
        resumed = response.status == 206
        if not resumed:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total and shutil.disk_usage(part.parent).free < total - have:
            raise WeightsError(
                f"{url} has {total:,} bytes: not enough room in {part.parent}. To make room, type: "
                "headstart cache prune --max-mb 1000"
            )
        _note(part).write_text(
            response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        )
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
    if total is not None and have != total:
        raise _Short(f"{have:,} of {total:,} bytes came")


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to a connection that anyone can alter."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any):  # type: ignore[no-untyped-def]
        safe = req.full_url.startswith("https:")
        if not newurl.startswith("https:") and (safe or not newurl.startswith("http:")):
            raise WeightsError(
                f"expected a secure address, found that {req.full_url} redirects to {newurl}. "
                "Give an https address that does not"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _checksum(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def fits(path: Path, checksum: str) -> bool:
    """Whether a file has the checksum, "sha256:..." or "md5:...". Raises OSError."""
    return _checksum(path, checksum.split(":")[0]) == checksum


def _failed(url: str, target: Path, reason: str) -> WeightsError:
    return WeightsError(f"cannot fetch {url}: {reason}. {_again(target)}")


def _again(target: Path) -> str:
    return f"Type the same command to try again, or bring the file by hand and put it at {target}"
