"""Collections whose images are packed: in tars, in Parquet files, in Lance datasets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from diml.data.class_folders import class_folders
from diml.data.collection import Collection, labelled
from diml.data.containers import LANCE, PARQUET, ending_of, is_lance, is_tar
from diml.data.gathered import Gathered
from diml.data.located import LocalFile, UnusableError
from diml.data.object_files import StoredObject, is_url
from diml.data.patterns import expanded
from diml.data.printable import printable
from diml.data.read_ahead import read_ahead
from diml.data.tars import gather_tar
from diml.errors import DatasetError, UsageError
from diml.files import AnyPath, user_path


def is_packed(path: AnyPath) -> bool:
    """Whether a path names a file or dataset that holds images, or several by a pattern such as `{000..123}.tar`.

    A Parquet file may hold the paths of images instead: it is looked at, if it is there.
    """
    text = os.fspath(path)
    if ending_of(text) == LANCE:
        return is_lance(text) or not os.path.exists(text)
    if ending_of(text) not in PARQUET:
        return is_tar(text) and not os.path.isdir(text)
    files = expanded(text)
    return bool(files) and os.path.isfile(files[0]) and _layout_of(Path(files[0])) is not None


def open_packed(
    places: AnyPath | Sequence[AnyPath], labels_from: AnyPath | None = None, root: Path | None = None
) -> Collection:
    """The images in tars, Parquet files and Lance datasets.

    - A tar, without compression, holds images as members, `cats/tom.jpg`. As in a WebDataset, members of the same key
      say more of them: `cats/tom.cls` the label, `cats/tom.json` further columns (and the label), `cats/tom.txt` the
      column `txt`. The key of a member ends at the first dot of its file's name.
    - A Parquet file or a Lance dataset has a column of encoded images, as bytes or as a struct `{bytes, path}` as
      Hugging Face's datasets write it; optionally one that names them (`path`, `file_name`, `filename`, `image_path`,
      `key` or `__key__`), `label`, `split` and more.

    The path of an image is that of its container and the name in it: `shard-000.tar/cats/tom.jpg`,
    `photos.parquet/cats/tom.jpg`, or `photos.parquet/12` for row 12, counted from 0, of a table without names. Images
    come in the order in which they lie in their containers, and are read when they are needed.

    Args:
        places: paths; see `expanded` for patterns.
        labels_from: "folder" takes the first folder of the name in the container as the label, a table gives it by the
            paths of the images; None takes those that the containers give.
        root: the folder that paths are relative to, if all containers lie in it; by default the innermost one in which
            they do.

    Raises:
        UsageError: there is no such file, or labels from elsewhere where the containers give some.
        DatasetError: none of the containers can be read, or holds images.
    """
    given = [places] if isinstance(places, str | os.PathLike) else list(places)
    files = [file for place in given for file in _existing(user_path(place))]
    folder = Path(os.path.commonpath([file.parent for file in files]))
    if root is not None and folder.is_relative_to(root):
        folder = root
    name = printable(given[0]) if len(given) == 1 else f"{len(files)} files"
    return gathered(folder, [file.relative_to(folder).as_posix() for file in files], name, labels_from)


def gathered(
    folder: Path | str, containers: Sequence[str], name: str, labels_from: AnyPath | None = None
) -> Collection:
    """The images of containers below a folder, or below the address of one on an object store.

    One of several containers that cannot be read is left out, with the reason.
    """
    into, distant = Gathered(), is_url(folder)
    paths = list(dict.fromkeys(containers))
    for path, part in read_ahead(paths, lambda path: _part(f"{folder}/{path}", path), lambda _: distant):
        if isinstance(part, Gathered):
            into.extend(part)
        elif len(paths) == 1:
            raise part
        else:
            into.leave(path, str(part).removeprefix(f"{printable(f'{folder}/{path}')}: "))
    found = into.collection(folder, name)
    if not found.paths:
        left_out = [f"; {each.path}: {each.reason}" for each in found.skipped[:1]]
        raise DatasetError(
            f"{name}: holds no images{''.join(left_out)}; expected members such as 12.jpg in a tar, or encoded images "
            "in a column of a table"
        )
    return found if labels_from is None else _with_labels(found, labels_from)


def _part(place: str, path: str) -> Gathered | DatasetError:
    """The images of one container, or why it cannot be read."""
    part = Gathered()
    try:
        _gather(place, path, part)
    except DatasetError as error:
        return error
    return part


def _gather(place: str, path: str, into: Gathered) -> None:
    # Imported here, as folders and tars do without.
    from diml.data.lance_images import gather_lance
    from diml.data.parquet_images import gather_parquet, parquet_layout

    try:
        if ending_of(place) == LANCE:
            return gather_lance(place, path, into)
        container = StoredObject.at(place) if is_url(place) else LocalFile.of(Path(place))
        if ending_of(place) not in PARQUET:
            return gather_tar(container, path, into)
        layout = parquet_layout(container)
        if layout is None:
            raise DatasetError(
                f"{container.name}: has no column of encoded images; expected JPEG, PNG and the like as bytes in a "
                "column such as image"
            )
        return gather_parquet(container, path, layout, into)
    except UnusableError as reason:
        raise DatasetError(f"{printable(place)}: {reason}") from None
    except OSError as error:
        raise DatasetError(f"{printable(place)}: cannot be read ({error.strerror or error})") from None


def _with_labels(found: Collection, labels_from: AnyPath) -> Collection:
    if found.labels is not None:
        raise UsageError(f"labels_from cannot be combined with {found.name}, which has its own labels; leave it out")
    if os.fspath(labels_from) != "folder":
        return labelled(found, user_path(labels_from))
    return replace(found, labels=class_folders(names_in_containers(found)).labels)


def names_in_containers(found: Collection) -> list[str]:
    """The names of packed images in their containers."""
    assert found.sources is not None
    return [source.path for source in found.sources]


def _existing(pattern: Path) -> Iterator[Path]:
    """The files that a pattern stands for, absolute and without `..`, so that one file has one path."""
    found = expanded(pattern)
    if not found:
        raise UsageError(f"{printable(pattern)}: no file matches; check the path")
    for each in found:
        if not os.path.exists(each):
            raise UsageError(f"{printable(each)}: there is no such file; check the path")
        if os.path.isdir(each) and not is_lance(each):
            raise UsageError(f"{printable(each)}: is a folder; expected a tar, a Parquet file or a Lance dataset")
        if not os.path.isdir(each) and not os.path.isfile(each):
            raise UsageError(
                f"{printable(each)}: is not a regular file; expected a tar, a Parquet file or a Lance dataset"
            )
        yield Path(os.path.normpath(Path(each).absolute()))


def _layout_of(file: Path) -> object | None:
    from diml.data.parquet_images import parquet_layout

    try:
        return parquet_layout(LocalFile.of(file))
    except (DatasetError, OSError):
        return None
