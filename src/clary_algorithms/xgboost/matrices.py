"""A channel's files to the library's matrix, with labels, weights and query groups.

Used by the training program. The only place that knows both the readers and the library's matrix.
"""

import numpy as np

from clary_algorithms.xgboost.channels import Format, Source, data_files
from clary_algorithms.xgboost.csv_data import read_csv
from clary_algorithms.xgboost.library import xgboost
from clary_algorithms.xgboost.libsvm_data import SparseData, read_libsvm


def load(source: Source, *, csv_weights: bool, nthread: int | None, survival: bool) -> xgboost.DMatrix | None:
    """The channel as a matrix, or None when this host's share of it is empty. Raises `CustomerError`.

    With `survival` each label is an exact, uncensored time: the text formats have no place for a range.
    """
    files = data_files(source.directory)
    if not files:
        return None
    if source.format is Format.CSV:
        dense = read_csv(files, weighted=csv_weights)
        labels = dense.labels
        matrix = xgboost.DMatrix(dense.features, label=labels, weight=dense.weights, missing=np.nan, nthread=nthread)
    else:
        sparse = read_libsvm(files)
        labels = sparse.labels
        matrix = xgboost.DMatrix(
            _rows(sparse), label=labels, weight=sparse.weights, qid=sparse.query_ids, missing=np.nan, nthread=nthread
        )
    if survival:
        matrix.set_float_info("label_lower_bound", labels)
        matrix.set_float_info("label_upper_bound", labels)
    return matrix


def _rows(data: SparseData) -> object:
    from scipy.sparse import csr_matrix  # noqa: PLC0415 -- CSV jobs do without

    columns = int(data.indexes.max()) + 1 if len(data.indexes) else 1
    return csr_matrix((data.values, data.indexes, data.row_ends), shape=(len(data.labels), columns))
