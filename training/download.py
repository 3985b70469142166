"""Downloads that go on where they were cut off, from the first mirror that answers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from training.errors import DataError

_CHUNK = 1 << 16  # bytes
_TIMEOUT = httpx.Timeout(30.0)  # seconds, for each of connect, read and write


def download(name: str, mirrors: Sequence[str], directory: Path, check: Callable[[Path], None]) -> Path:
    """Fetches `name` from the first of the mirrors (base URLs) that delivers it right, into `directory`.

    What arrives goes to a `.partial` file, one for each mirror because they compress differently. A later call goes on
    there. When it is whole and `check` raises no DataError, it is renamed; what fails the check is removed.

    Returns:
        The path of the file.

    Raises:
        DataError: no mirror delivered it; the message has each one's reason.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / name
    reasons = []
    for number, mirror in enumerate(mirrors):
        partial = directory / f"{name}.{number}.partial"
        try:
            _continue(f"{mirror.rstrip('/')}/{name}", partial)
            check(partial)
        except httpx.HTTPError as error:
            reasons.append(f"{mirror}: {str(error) or type(error).__name__}".splitlines()[0])
        except DataError as error:
            partial.unlink()
            reasons.append(f"{mirror}: {error}")
        else:
            partial.replace(target)
            for other in directory.glob(f"{name}.*.partial"):
                other.unlink()
            return target
    raise DataError(f"{name} could not be downloaded ({'; '.join(reasons)})")


def _continue(url: str, partial: Path) -> None:
    """Adds to `partial` what it still lacks of the file at `url`."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with httpx.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as answer:
        if have and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # it holds more than the mirror's file: it was another file's beginning
            _continue(url, partial)
            return
        answer.raise_for_status()
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0  # the mirror cannot continue a download, and sends the whole
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, TimeRemainingColumn()) as progress, partial.open("r+b" if have else "wb") as file:
            file.seek(have)
            task = progress.add_task(partial.stem, total=total, completed=have)
            for chunk in answer.iter_raw(_CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
    if total is not None and partial.stat().st_size != total:
        raise httpx.RemoteProtocolError(f"{url} ended early")
