"""From files to objects: an archive, a tree as it is, or one file of it.

Called when artifacts are uploaded and checkpoints synchronised. Running any of these again after a crash ends in the
same objects. What a tree gives, and how links are treated, is `tree`; downloads are `transfer`.
"""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from clary.base.telemetry import get_logger
from clary.storage.archive import pack
from clary.storage.port import AccessDenied, ObjectStorage, StorageError
from clary.storage.transfer import Cancelled
from clary.storage.tree import Member, open_member, walk

_BLOCK_BYTES = 1024 * 1024
_SMALL_BYTES = 8 * _BLOCK_BYTES
_FILES_AT_ONCE = 4

_log = get_logger("storage")


class FileChanged(Exception):
    """A file is no longer what it was when it was found."""


def upload_archive(
    storage: ObjectStorage,
    bucket: str,
    key: str,
    roots: Sequence[Path],
    *,
    seen_as: str | None = None,
    kms_key_id: str | None = None,
    on_skip: Callable[[str, str], None] = lambda _path, _reason: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """Make the object `key` a tar.gz of the merged roots; answers the number of its members.

    The object appears whole or not at all. Parameters as in `archive.pack`; raises what that raises, `StorageError`,
    or `Cancelled`.
    """
    abandon_leftovers(storage, bucket, {key})
    with storage.open_writer(bucket, key, kms_key_id=kms_key_id) as writer:
        return pack(roots, writer, seen_as=seen_as, on_skip=on_skip, check=lambda: _check(cancelled))


def upload_tree(
    storage: ObjectStorage,
    bucket: str,
    prefix: str,
    roots: Sequence[Path],
    *,
    seen_as: str | None = None,
    kms_key_id: str | None = None,
    on_skip: Callable[[str, str], None] = lambda _path, _reason: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """Make an object of every file of the merged roots, its key `prefix` + "/" + path; answers their number.

    Each object appears whole or not at all, in no particular order. Directories become nothing. Raises `OSError`,
    `StorageError` (also for a name that no key can have) or `Cancelled`; the first failure ends the work.
    """
    files = [member for member in walk(roots, seen_as=seen_as, on_skip=on_skip) if not member.is_directory]
    for member in files:
        if not is_text(member.path):
            raise StorageError(
                f"the file name {os.fsencode(member.path)!r} is not UTF-8, as the key of an object must be"
            )
    base = f"{prefix.removesuffix('/')}/" if prefix else ""
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="upload-tree") as pool:
        under_way: set[Future[None]] = set()
        try:
            for member in files:
                _check(cancelled)
                if len(under_way) >= 2 * _FILES_AT_ONCE:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                key = base + member.path
                under_way.add(
                    pool.submit(
                        _upload_member, storage, bucket, key, member, kms_key_id=kms_key_id, cancelled=cancelled
                    )
                )
            for future in under_way:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(files)


def upload_as_found(
    storage: ObjectStorage,
    bucket: str,
    key: str,
    member: Member,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Make the object `key` the content of a file exactly as it was when `member` was made.

    Raises `FileChanged` if it has another size, time or inode since, or gets one meanwhile: then the object stays what it
    was. Raises `OSError`, `StorageError` and `Cancelled` too.
    """
    with open_member(member) as fd:
        _check_unchanged(fd, member)
        if member.size_bytes <= _SMALL_BYTES:
            data = os.pread(fd, member.size_bytes, 0)
            _check_unchanged(fd, member)
            storage.put(bucket, key, data)
            return
        abandon_leftovers(storage, bucket, {key})
        with storage.open_writer(bucket, key) as writer:
            for offset in range(0, member.size_bytes, _BLOCK_BYTES):
                _check(cancelled)
                writer.write(os.pread(fd, min(_BLOCK_BYTES, member.size_bytes - offset), offset))
            _check_unchanged(fd, member)  # an exception here abandons all that was sent


def is_text(path: str) -> bool:
    """Whether a file name is UTF-8, as the key of an object must be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_unchanged(fd: int, member: Member) -> None:
    now = os.fstat(fd)
    if (now.st_size, now.st_mtime_ns, now.st_ino) != (member.size_bytes, member.mtime_ns, member.inode):
        raise FileChanged(member.path)


def _upload_member(
    storage: ObjectStorage,
    bucket: str,
    key: str,
    member: Member,
    *,
    kms_key_id: str | None,
    cancelled: Callable[[], bool],
) -> None:
    with open_member(member) as fd:
        _upload_fd(storage, bucket, key, fd, kms_key_id=kms_key_id, cancelled=cancelled)


def _upload_fd(
    storage: ObjectStorage, bucket: str, key: str, fd: int, *, kms_key_id: str | None, cancelled: Callable[[], bool]
) -> None:
    size_bytes = os.fstat(fd).st_size
    if size_bytes <= _SMALL_BYTES:
        storage.put(bucket, key, os.pread(fd, size_bytes, 0), kms_key_id=kms_key_id)
        return
    abandon_leftovers(storage, bucket, {key})
    with storage.open_writer(bucket, key, kms_key_id=kms_key_id) as writer:
        offset = 0
        while block := os.pread(fd, _BLOCK_BYTES, offset):
            _check(cancelled)
            writer.write(block)
            offset += len(block)


def abandon_leftovers(storage: ObjectStorage, bucket: str, keys: Collection[str]) -> None:
    """Free what uploads of these keys that were killed half-way still occupy.

    Their objects are not at stake, so a refusal is no failure. Raises `StorageError` for anything else.
    """
    try:
        storage.abort_uploads(bucket, keys)
    except AccessDenied as error:
        _log.debug("leftovers_not_listed", bucket=bucket, keys=len(keys), error=str(error))


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled
