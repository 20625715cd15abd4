import pytest
import torch

from argus_ray.models.precision import fastest_dtype


@pytest.mark.parametrize(
    ("hardware", "dtype"),
    [
        ({"kind": "cuda", "cuda": (7, 5)}, torch.float16),  # T4
        ({"kind": "cuda", "cuda": (8, 6)}, torch.bfloat16),  # A10G
        ({"kind": "cuda", "cuda": (9, 0)}, torch.bfloat16),  # H100
        ({"kind": "cpu", "cpu": {"avx512_bf16": True}}, torch.bfloat16),
        ({"kind": "cpu", "cpu": {"avx2": True, "avx512_bf16": False}}, torch.float32),
    ],
)
def test_numbers_have_the_precision_that_the_hardware_is_fast_in(hardware, dtype):
    assert fastest_dtype(**hardware) == dtype
