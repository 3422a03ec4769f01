"""The hot loops, on raw arrays, without Tensors and graphs; installed as `tinygen.kernels`.

`reference` has each kernel in plain array code, the oracle and the fallback; `cpu` the numba versions, `cuda` the CUDA
C++ versions, all with the same signatures. Imports here are relative, so that the folder works wherever it lies.
"""
