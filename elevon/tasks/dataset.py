"""Dataset: a handle to Arrow partitions that stay on the ranks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from elevon.errors import DataLost, WireError
from elevon.frames.files import ipc
from elevon.model.checks import whole
from elevon.model.ids import TaskId
from elevon.model.outcomes import Partition
from elevon.tasks.methods import FrameMethods
from elevon.tasks.task import Task
from elevon.tasks.verbs import Verbs
from elevon.wire.data import PartitionRequest, fetch

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Dataset(FrameMethods[Task]):
    """Rows in ``num_partitions`` partitions, in order; one per rank that made it.

    The partitions live as long as this handle, or a task that needs them. The methods that are
    verbs (merge, groupby, filter, ...) submit a task on the ranks and give it back; ``head``,
    ``tail`` and what is called ``to_...`` or ``write_...`` do their work at once.
    """

    def __init__(
        self,
        task: TaskId,
        name: str,
        schema: bytes,
        partitions: tuple[Partition, ...],
        verbs: Verbs[Task],
        release: Callable[[TaskId], None],
    ) -> None:
        self.id = task
        self._name = name
        self._schema = schema
        self._partitions = partitions
        self.verbs = verbs
        weakref.finalize(self, release, task).atexit = False

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return ipc.schema_from_bytes(self._schema)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @property
    def num_rows(self) -> int:
        """Rows of all partitions together."""
        return sum(partition.rows for partition in self._partitions)

    @property
    def nbytes(self) -> int:
        """Bytes of all partitions together, in memory."""
        return sum(partition.nbytes for partition in self._partitions)

    @property
    def num_partitions(self) -> int:
        """How many partitions there are."""
        return len(self._partitions)

    @property
    def made_on(self) -> int:
        """How many ranks made it."""
        return self.num_partitions

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """Where the partitions are."""
        return self._partitions

    def __len__(self) -> int:
        return self.num_rows

    def iter_partitions(self) -> Iterator[pa.Table]:
        """The partitions one by one, as Arrow tables.

        Raises:
            DataLost: a rank that held one is gone.
        """
        return (self._fetch(partition, 0, partition.rows) for partition in self._partitions)

    def head(self, rows: int = 5) -> pa.Table:
        """The first rows, all but the last ``-rows`` where negative; only these travel."""
        pieces, wanted = [], self._wanted("head", rows)
        for partition in self._partitions:
            if wanted > 0 and partition.rows > 0:
                pieces.append(self._fetch(partition, 0, min(wanted, partition.rows)))
                wanted -= partition.rows
        return ipc.concat(self._schema, pieces)

    def tail(self, rows: int = 5) -> pa.Table:
        """The last rows, all but the first ``-rows`` where negative; only these travel."""
        pieces, wanted = [], self._wanted("tail", rows)
        for partition in reversed(self._partitions):
            if wanted > 0 and partition.rows > 0:
                taken = min(wanted, partition.rows)
                pieces.append(self._fetch(partition, partition.rows - taken, taken))
                wanted -= taken
        return ipc.concat(self._schema, pieces[::-1])

    def to_arrow(self) -> pa.Table:
        """All rows as an Arrow table in this process, one chunk per partition."""
        return ipc.concat(self._schema, list(self.iter_partitions()))

    def to_pandas(self, **options: Any) -> pd.DataFrame:
        """All rows as a pandas DataFrame; options go to ``pyarrow.Table.to_pandas``."""
        return self.to_arrow().to_pandas(**options)

    def write_parquet(
        self, path: str, compression: str = "zstd", *, overwrite: bool = False
    ) -> list[str]:
        """Write one file per partition under the directory ``path``, from where the data is.

        A directory that holds such files already is refused unless ``overwrite``. Returns the paths
        of the files, in order of the partitions.
        """
        task = self.verbs.write_parquet(
            self, path, compression, overwrite=overwrite, ranks=self.num_partitions
        )
        files: list[str] = task.result()
        return files

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled: give a Dataset as an argument of its own to submit, not "
            "inside a list, a dict or a closure"
        )

    def __repr__(self) -> str:
        columns = ", ".join(self.column_names)
        return (
            f"Dataset({self.id!r}, {self.num_rows:,} rows, {self.num_partitions} partitions, "
            f"columns: {columns})"
        )

    def relocate(self, partitions: tuple[Partition, ...]) -> None:
        """Called by the manager: the partitions were made again elsewhere."""
        self._partitions = partitions

    def _wanted(self, what: str, rows: int) -> int:
        rows = whole(f"{what}: rows", rows)
        return rows if rows >= 0 else self.num_rows + rows

    def _fetch(self, partition: Partition, offset: int, rows: int) -> pa.Table:
        request = PartitionRequest(self.id, offset, rows)
        try:
            return ipc.read_stream(fetch(partition.address, request))
        except WireError as error:
            raise DataLost(
                f"a partition of {self.id} ({self._name}) on rank {partition.rank} is gone: "
                f"{error}. Run the task again.",
                task=self.id,
                rank=partition.rank,
            ) from error
