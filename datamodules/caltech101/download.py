"""The official archive of Caltech-101, fetched and checked."""

import hashlib
import http.client
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from rich.progress import DownloadColumn

from configs.files import atomic_write
from datamodules.caltech101.checksums import LARGEST, ZIP_MD5, ZIP_SHA256
from datamodules.progress import progress_bar

URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
ATTEMPTS = 3
BACK_OFF = 2.0  # seconds before the second attempt, doubled before the third
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20


class DownloadError(Exception):
    """The archive could not be had; the message is the reason of the last attempt."""


def download(target: Path) -> None:
    """Fetch the archive at ``URL`` into the file ``target``, which is there at the end only if both checksums are right.

    Raises:
        DownloadError: all ``ATTEMPTS`` failed.
        OSError: ``target`` can't be written.
    """
    for attempt in range(ATTEMPTS):
        try:
            _fetch(target)
            return
        except DownloadError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(BACK_OFF * 2**attempt)


def _fetch(target: Path) -> None:
    """Fetch the whole archive into ``target``, its size and checksums watched: one attempt."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with atomic_write(target) as output:
        for chunk in _receive():
            output.write(chunk)
            md5.update(chunk)
            sha256.update(chunk)
            if output.tell() > LARGEST:
                raise DownloadError(f"{URL}: sends more than {LARGEST:,} bytes")
        if (md5.hexdigest(), sha256.hexdigest()) != (ZIP_MD5, ZIP_SHA256):
            raise DownloadError(f"{URL}: what came is not the official archive (wrong checksum)")


def _receive() -> Iterator[bytes]:
    """Yield what the server sends, piece by piece, under a progress bar; errors of the network become DownloadError."""
    request = urllib.request.Request(URL, headers={"User-Agent": "alexnet-zfnet-caltech101"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response, progress_bar(DownloadColumn()) as progress:
            length = response.headers.get("Content-Length")
            task = progress.add_task("Downloading Caltech-101", total=int(length) if length else None)
            while chunk := response.read(CHUNK):
                progress.advance(task, len(chunk))
                yield chunk
    except (OSError, http.client.HTTPException) as error:  # URLError, HTTPError and time-outs are OSErrors
        raise DownloadError(f"{URL}: {error}") from error
