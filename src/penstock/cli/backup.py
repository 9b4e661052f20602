"""`penstock backup` and `restore`: ledger and keys as one file, and back into an empty database of any kind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli import output
from penstock.cli.client import download
from penstock.cli.options import AdminUrlOption, FileOption, HomeOption, JsonOption, admin, file_of, home_of
from penstock.types.errors import PenstockError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class BackupError(PenstockError):
    """The file cannot be written or read."""


def backup(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it, such as penstock.jsonl.gz.")],
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write ledger and keys, all of one moment, to a new file. Keep it as a secret."""
    draft = to.with_name(f".{to.name}.partial")
    try:
        if to.exists():
            raise FileExistsError
        draft.unlink(missing_ok=True)  # of one that was interrupted
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file, _progress() as advance:
            with download(admin(home, url), "/admin/v1/backup") as pieces:
                for piece in pieces:
                    file.write(piece)
                    advance(len(piece))
            file.flush()
            os.fsync(file.fileno())
        rows = _check(draft)
        os.link(draft, to)  # which replaces nothing
    except FileExistsError:
        raise BackupError(f"{to} exists; a backup is never written over another file") from None
    except OSError as error:
        raise BackupError(f"{to} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    size = to.stat().st_size
    if as_json:
        output.emit_json({"file": str(to), "bytes": size, "rows": rows})
    else:
        output.note(
            f"{to} has {rows:,} rows in {size:,} bytes. Keep it as a secret: keys are checked with what is in it."
        )


def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `penstock backup` has written.")],
    file: FileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a backup into the database that the stack file names, which must be empty. Penstock must not run."""
    import asyncio  # see `cli.main`

    from penstock.auth.secrets import SecretRef
    from penstock.control import lock
    from penstock.stack.load import load

    stack = load(file_of(file), os.environ, Path.cwd())
    place = stack.state.database if isinstance(stack.state.database, SecretRef) else None
    where = home_of(home)
    try:
        if place is None and where.database.exists():
            raise BackupError(f"{where.database} exists; a backup is restored into a new database")
        where.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock.hold(where.control_lock):
            counts = asyncio.run(_restore(source, where.root, where.database, place))
    except OSError as error:
        raise BackupError(f"{source} cannot be restored: {error.strerror or error}") from error
    if as_json:
        output.emit_json({"rows": counts})
    else:
        told = ", ".join(f"{count:,} of {name}" for name, count in counts.items() if count) or "nothing"
        output.note(f"Restored: {told}.")


async def _restore(source: Path, root: Path, path: Path, place: object) -> dict[str, int]:
    import base64

    from penstock.auth import pepper
    from penstock.auth.secrets import SecretMissing, SecretRef, resolve
    from penstock.control.keys import made_under  # see `cli.main`
    from penstock.records import archive
    from penstock.records.database import Database

    lines = _lines(source)
    head = archive.head_of(next(lines, b""))
    kept = base64.b64decode(head.secret)
    if (root / pepper.FILE_NAME).exists() or pepper.VARIABLE in os.environ:
        secret = pepper.load(root, os.environ)
    elif kept:
        secret = kept
    else:
        raise BackupError(f"the backup was made under {pepper.VARIABLE}; set it to the same value")

    async def check(connection: AsyncConnection) -> None:
        if not await made_under(connection, secret):
            where = pepper.VARIABLE if pepper.VARIABLE in os.environ else str(root / pepper.FILE_NAME)
            raise BackupError(f"the keys of the backup were made under another secret than that in {where}")

    if isinstance(place, SecretRef):
        try:
            database = await Database.connect(resolve(place, os.environ), prepare=False)
        except SecretMissing as error:
            raise BackupError(f"the address of the database is missing: {error}") from None
    else:
        database = await Database.open(path, prepare=False)
    try:
        with _progress() as advance:
            counts = await archive.restore(database, head, _counted(lines, advance), check)
        if pepper.VARIABLE not in os.environ:
            pepper.put(root, secret)
    except BaseException:
        await database.close()
        if place is None:
            for suffix in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        raise
    await database.close()
    return counts


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a backup. Raises BackupError where it is cut or no backup."""
    import gzip
    import zlib

    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BackupError(f"{path} is cut, damaged, or no backup of Penstock") from error


def _check(path: Path) -> int:
    """Read a backup to its end and return how many rows it has. Raises BackupError where it is not whole."""
    count, last = 0, b""
    for line in _lines(path):
        count, last = count + 1, line
    if not last.startswith(b'{"rows":'):
        raise BackupError("the backup broke off; the log of control says why")
    return count - 2


def _counted(lines: Iterator[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    for line in lines:
        advance(len(line))
        yield line


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Show how many bytes there were so far, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda size: bar.advance(task, size)
