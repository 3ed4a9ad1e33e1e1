"""Matrix products that add up in at least float32, the fast way of each device.

On a CPU torch multiplies float32 matrices with MKL, which leaves AVX-512 unused on AMD processors.
oneDNN, which torch ships too, uses what the processor has: about twice as fast there, and equal to
float32 rounding.  torch.backends.mkldnn.set_flags(False) turns it off.
"""

import torch
from torch import Tensor


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums of `dtype` are kept in: float32 or float64."""
    return torch.promote_types(dtype, torch.float32)


def product(left_MK: Tensor, right_KN: Tensor) -> Tensor:
    """-> [M, N] in at least float32.

    Where right_KN has 16 bits, left_MK is rounded to them on a GPU and products are exact; sums of
    many products are never kept in 16 bits.
    """
    dtype = wide(right_KN.dtype)
    if right_KN.dtype != dtype and right_KN.is_cuda:
        return torch.mm(left_MK.to(right_KN.dtype), right_KN, out_dtype=dtype)
    left_MK, right_KN = left_MK.to(dtype), right_KN.to(dtype)
    if _fits_onednn(left_MK) and _fits_onednn(right_KN) and _has_onednn():
        return _onednn_product(left_MK, right_KN)
    return torch.mm(left_MK, right_KN)


def _fits_onednn(factor: Tensor) -> bool:
    """It refuses empty factors; other dtypes torch gives to it by itself."""
    return factor.device.type == "cpu" and factor.dtype == torch.float32 and factor.numel() > 0


def _has_onednn() -> bool:
    mkldnn = torch.backends.mkldnn  # oneDNN's old name
    usable = mkldnn.enabled and mkldnn.is_available()  # type: ignore[no-untyped-call]
    # The operator is torch's own but not documented, so it may go.
    return bool(usable) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _onednn_product(left_MK: Tensor, right_KN: Tensor) -> Tensor:
    product_MN: Tensor = torch.ops.mkldnn._linear_pointwise(
        left_MK, right_KN.t(), None, "none", [], ""
    )
    return product_MN
