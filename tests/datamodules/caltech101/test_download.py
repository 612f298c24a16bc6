"""Finding, unpacking and downloading, the last from a server on this machine that sends a stand-in."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import SettingsError
from datamodules.caltech101 import classes, download
from datamodules.caltech101.files import image_folder
from tests.datamodules.stand_in import STAND_IN


class Server(http.server.ThreadingHTTPServer):
    """Answers with ``content``, after failing in the ways listed in ``faults``, one a request."""

    content = b""
    faults: list[str]
    requests: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        fault = self.server.faults.pop(0) if self.server.faults else "none"
        if fault == "error":
            self.send_error(503)
            return
        content = b"another file" if fault == "other" else self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(stand_in_zip: Path, monkeypatch: pytest.MonkeyPatch, free_of_waiting: list[float]) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.content, server.faults, server.requests = stand_in_zip.read_bytes(), [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{server.server_port}/stand-in-for-caltech-101.zip")
        monkeypatch.setattr(download, "ZIP_MD5", hashlib.md5(server.content).hexdigest())
        monkeypatch.setattr(download, "ZIP_SHA256", hashlib.sha256(server.content).hexdigest())
        yield server
        server.shutdown()
        thread.join()


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.suffix != ".lock")


def test_download_is_checked_and_unpacked(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "root"
    folder = image_folder(root, None)
    assert folder == root / "101_ObjectCategories"
    assert left(root) == ["101_ObjectCategories", "Annotations"]
    assert (folder / "Faces/image_0006.jpg").is_file()
    assert image_folder(root, None) == folder
    assert len(server.requests) == 1


def test_download_is_tried_three_times(server: Server, tmp_path: Path, free_of_waiting: list[float]) -> None:
    server.faults = ["error", "cut"]
    image_folder(tmp_path / "root", None)
    assert len(server.requests) == 3
    assert free_of_waiting == [2.0, 4.0]


@pytest.mark.parametrize(("fault", "reason"), [("other", "wrong checksum"), ("cut", "wrong checksum"), ("error", "503")])
def test_failed_download_names_the_ways_out(server: Server, tmp_path: Path, fault: str, reason: str) -> None:
    server.faults = [fault] * 3
    with pytest.raises(SettingsError) as caught:
        image_folder(tmp_path / "root", None)
    message = str(caught.value)
    for word in (reason, "CALTECH101_ROOT", "data.root", "CALTECH101_ARCHIVES", "data.archives", download.URL, "data=shapes"):
        assert word in message
    assert "\n" not in message
    assert left(tmp_path / "root") == []


@pytest.mark.parametrize("checksum", ["ZIP_MD5", "ZIP_SHA256"])
def test_each_checksum_counts(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checksum: str) -> None:
    monkeypatch.setattr(download, checksum, "0" * 32)
    with pytest.raises(download.DownloadError, match="checksum"):
        download.download(tmp_path / "file.zip")
    assert not list(tmp_path.glob("*file.zip*"))


def test_download_without_end_is_cut_off(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST", 100)
    with pytest.raises(download.DownloadError, match="more than 100 bytes"):
        download.download(tmp_path / "file.zip")
    assert not list(tmp_path.glob("*file.zip*"))


def test_interrupted_download_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rich.progress.Progress.advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        image_folder(tmp_path / "root", None)
    assert left(tmp_path / "root") == []


def test_archives_are_unpacked_with_annotations(stand_in_archives: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / ".caltech101.partial/half").mkdir(parents=True)  # what a killed process left behind
    assert image_folder(root, stand_in_archives) == root / "101_ObjectCategories"
    assert left(root) == ["101_ObjectCategories", "Annotations"]
    assert (root / "Annotations/Faces_2/annotation_0001.mat").read_bytes() == b"stand-in"


def test_image_folder_itself_may_be_the_root(stand_in_archives: Path, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "root", stand_in_archives)
    assert image_folder(folder, None) == folder


def test_archives_folder_without_the_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no 101_ObjectCategories"):
        image_folder(tmp_path / "root", tmp_path / "nowhere")
    assert left(tmp_path / "root") == []


def test_root_that_is_a_file_is_named(stand_in_archives: Path, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(SettingsError, match=r"data\.root=.*choose another folder"):
        image_folder(tmp_path / "root", stand_in_archives)


def test_incomplete_archive_is_refused(stand_in_archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "IMAGES_PER_CLASS", STAND_IN | {"Faces": 7})
    with pytest.raises(SettingsError, match="3 of 3 classes and 17 of 18 images"):
        image_folder(tmp_path / "root", stand_in_archives)
    assert left(tmp_path / "root") == []
