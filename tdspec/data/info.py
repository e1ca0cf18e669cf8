"""What a source declares about its columns, without reading an example.

In: the words of `data` and `task`. Out: `SourceInfo`. Uses neither the network nor data files, so that a spec compiles
anywhere. Leaves out: what only the examples can tell (the classes of a csv file, the sizes of images in a folder).
"""

from __future__ import annotations

from dataclasses import dataclass

from tdspec.data.table import unknown


@dataclass(frozen=True)
class SourceInfo:
    """What is declared; None where it is not.

    Attributes:
        num_classes: of the label column.
        image_shape: (height, width, channels) of the image column; None for a height or width that varies.
    """

    num_classes: int | None
    image_shape: tuple[int | None, int | None, int] | None


def describe(*, source: str, name: str | None, path: str | None, label: str, column: str) -> SourceInfo:
    """Describe the label and image columns of a source.

    Args:
        source, name, path: as in the spec.
        label: the label column.
        column: the image column; a table without any image may lack it.

    Raises:
        DataError: the builder or a column is unknown.
    """
    if source == "digits":
        _check("task.label", label, ("image", "label"), "digits")
        _check("input.column", column, ("image", "label"), "digits")
        return SourceInfo(
            num_classes=10 if label == "label" else None, image_shape=(8, 8, 1) if column == "image" else None
        )
    if source == "tfds":
        return _describe_tfds(name, path, label, column)
    return SourceInfo(num_classes=None, image_shape=None)


def _describe_tfds(name: str | None, path: str | None, label: str, column: str) -> SourceInfo:
    import tensorflow_datasets as tfds

    from tdspec.data.tfds_source import builder, class_label

    features = builder(name, path).info.features
    _check("task.label", label, tuple(features), str(name))
    images = [key for key in features if isinstance(features[key], tfds.features.Image)]
    if images:
        _check("input.column", column, tuple(features), str(name))
    declared = class_label(features[label])
    shape = features[column].shape if column in images else None
    return SourceInfo(num_classes=None if declared is None else declared.num_classes, image_shape=shape)


def _check(key: str, column: str, known: tuple[str, ...], place: str) -> None:
    if column not in known:
        error = unknown("column", column, known, place)
        raise type(error)(f"{key}: {error.message}", error.hint)
