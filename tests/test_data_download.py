from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from data_support import TdspecRemote, TdspecTiny

from tdspec.data.download import fetch
from tdspec.data.tfds_source import open_tfds
from tdspec.errors import DataError


def test_a_builder_is_prepared_where_it_is_wanted_and_only_once(tmp_path: Path) -> None:
    assert TdspecTiny.name == "tdspec_tiny"
    found = fetch(source="tfds", name="tdspec_tiny", path=str(tmp_path))
    assert found == tmp_path / "tdspec_tiny" / "1.0.0"
    written = (found / "dataset_info.json").stat().st_mtime_ns
    assert open_tfds("tdspec_tiny", str(tmp_path)).own_splits == {"train": 60, "test": 12}
    fetch(source="tfds", name="tdspec_tiny", path=str(tmp_path))
    assert (found / "dataset_info.json").stat().st_mtime_ns == written


def test_a_download_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(TdspecRemote, "url", f"http://127.0.0.1:{server.server_port}/images.zip")
        with pytest.raises(DataError, match="cannot download 'tdspec_remote': ") as caught:
            fetch(source="tfds", name="tdspec_remote", path=str(tmp_path))
        server.shutdown()
    assert "images.zip" in caught.value.message
    assert caught.value.hint == "check the network, or copy a prepared folder and name it in data.path"


def test_data_that_a_person_must_download(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'imagenet2012' must be downloaded by hand: "):
        fetch(source="tfds", name="imagenet2012", path=str(tmp_path))


def test_other_sources_are_where_they_are(tmp_path: Path) -> None:
    assert fetch(source="digits", name=None, path=None).name == "digits.npz"
    assert fetch(source="image_folder", name=None, path=str(tmp_path)) == tmp_path
    with pytest.raises(DataError, match="csv: no file or folder"):
        fetch(source="csv", name=None, path=str(tmp_path / "none.csv"))
