"""Getting data that are not on this machine; besides training the only place that uses the network.

In: a source's name. Out: the folder or file where its data are. Leaves out: presets of models.
"""

from __future__ import annotations

from pathlib import Path

from tdspec.errors import DataError


def fetch(*, source: str, name: str | None, path: str | None) -> Path:
    """Download and prepare what a source needs; nothing happens where it is there.

    Args:
        source: as in the spec; only "tfds" can be downloaded.
        name: the builder.
        path: the data folder of TensorFlow Datasets, or None for its own; the file or folder of other sources.

    Returns:
        Where the data are.

    Raises:
        DataError: the builder is unknown, or its data cannot be downloaded.
    """
    if source == "tfds":
        return _fetch_tfds(name, path)
    if source == "digits":
        return Path(__file__).with_name("digits.npz")
    found = Path(path or "")
    if path is None or not found.exists():
        raise DataError(f"{source}: no file or folder {path!r}", "data.path names it; only tfds data can be fetched")
    return found


def _fetch_tfds(name: str | None, path: str | None) -> Path:
    import requests
    import tensorflow_datasets as tfds

    from tdspec.data.tfds_source import builder

    found = builder(name, path)
    try:
        found.download_and_prepare()
    except (OSError, requests.RequestException, tfds.download.DownloadError) as error:
        message = f"cannot download '{name}': {str(error).splitlines()[0].rstrip('.')}"
        raise DataError(message, "check the network, or copy a prepared folder and name it in data.path") from error
    except AssertionError as error:
        # The library's way to say that a person must download these files first, and where to put them.
        raise DataError(f"'{name}' must be downloaded by hand: {str(error).strip().rstrip('.')}") from error
    return Path(str(found.data_path))
