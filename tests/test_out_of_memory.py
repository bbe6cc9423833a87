import numpy as np
import pytest
import torch

from lib.out_of_memory import MAX_HALVINGS, compute_in_parts, is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB"), True),
        (np.exceptions.AxisError("axis"), False),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_memory_is_told_from_other_errors(error, expected) -> None:
    assert is_out_of_memory(error) is expected


def test_work_is_cut_until_it_fits() -> None:
    sizes = []

    def compute(rows: range) -> int:
        sizes.append(len(rows))
        if len(rows) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sum(rows)

    assert sum(compute_in_parts(compute, range(20))) == sum(range(20))
    assert sizes == [20, 10, 5, 5, 10, 5, 5]


def test_work_is_not_cut_forever_nor_for_other_errors() -> None:
    sizes: list[int] = []

    def fail(error: Exception, rows: range) -> int:
        sizes.append(len(rows))
        raise error

    with pytest.raises(torch.OutOfMemoryError):
        compute_in_parts(lambda rows: fail(torch.OutOfMemoryError(), rows), range(1000))
    assert len(sizes) == MAX_HALVINGS + 1
    sizes.clear()
    with pytest.raises(RuntimeError, match="shapes"):
        compute_in_parts(lambda rows: fail(RuntimeError("shapes"), rows), range(1000))
    assert sizes == [1000]
