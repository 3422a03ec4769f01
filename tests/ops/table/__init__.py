"""The op table: for every operation its kind, sample arguments, reference values and errors, by subject.

Samples are tiny float64 arrays. Those of piecewise operations lie away from kinks and ties.
"""

from importlib import import_module

from tests.ops.table.case import NON_DIFFERENTIABLE, PIECEWISE, SMOOTH, TABLE, Case, add, beside, real, whole

__all__ = ["NON_DIFFERENTIABLE", "PIECEWISE", "SMOOTH", "TABLE", "Case", "add", "beside", "real", "whole"]

SUBJECTS = (
    "arithmetic logic rounding reduction products shaping views selection linear convolution pooling normalization "
    "recurrent losses resampling volumes attention linalg special"
)
for subject in SUBJECTS.split():
    import_module(f"{__name__}.{subject}")
