"""The records of a worker's arguments: declared by classes or by strings, filled from dataclasses."""

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from numba import carray

from tinygen.kernels.cpu.ir import floats_at
from tinygen.kernels.cpu.jit import Address, Record, worker
from tinygen.kernels.cpu.memory import address
from tinygen.kernels.cpu.pool import run


@dataclass(frozen=True)
class Size:
    count: int
    is_doubled: bool


class Places:
    y: Address
    shift: float


@worker(Size, Places)
def _numbers(arguments, task, lane):
    a = carray(arguments, 1)[0]
    y = carray(floats_at(a.y), a.count)
    for i in range(a.count):
        y[i] = (2 if a.is_doubled else 1) * i + a.shift


def test_a_worker_reads_the_fields_of_classes():
    y = np.empty(3, np.float32)
    run(_numbers, _numbers.record.filled(Size(3, True), y=address(y), shift=0.5), 1)
    assert y.tolist() == [0.5, 2.5, 4.5]


def test_classes_and_strings_declare_the_same_fields():
    by_classes, by_strings = Record(Size, Places), Record("count is_doubled y", "shift")
    assert by_classes.Structure._fields_ == by_strings.Structure._fields_
    assert [kind for _, kind in by_strings.Structure._fields_] == [ctypes.c_int64] * 3 + [ctypes.c_float]


def test_a_table_has_a_record_for_each_dataclass():
    table = Record(Size).table([Size(3, False), {"count": 5, "is_doubled": True}])
    assert table["count"].tolist() == [3, 5]
    assert table["is_doubled"].tolist() == [0, 1]


def test_a_misspelt_field_is_refused():
    with pytest.raises(AttributeError, match="cuont"):
        Record(Size).filled(cuont=3)
