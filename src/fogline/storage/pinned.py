"""Records in SQLite that stand still for a moment, while another process has them open; a copy of what they were."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from fogline.storage.errors import StorageError
from fogline.storage.opening import PATIENCE
from fogline.storage.sqlite import SqliteEngine


class PinnedRecords:
    """Records as they are now: nobody writes until :meth:`let_go`, and what comes later is not in :meth:`copy_to`.

    The hold ends with the process, however that ends.

    Args:
        path: the file.
        patience: seconds to wait for who writes now.

    Raises:
        StorageError: there is no such file, it cannot be read, or is locked for longer.
    """

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        if not path.exists():
            raise StorageError(f"There are no records {path}; name the folder of a node that has run")
        self._writing, self._reading = SqliteEngine(path, patience), SqliteEngine(path, patience)
        try:
            self._writing.hold()
            self._reading.pin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PinnedRecords:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    def let_go(self) -> None:
        """Let others write again."""
        self._writing.close()

    def copy_to(self, path: Path) -> None:
        """Write what the records were into a new file, which only its owner may read.

        Raises:
            StorageError: it cannot be written.
        """
        self._reading.copy_to(path)

    def close(self) -> None:
        """Let go of everything."""
        self._writing.close()
        self._reading.close()
