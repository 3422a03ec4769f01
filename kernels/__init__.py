"""The hot loops, on raw arrays: installed as `tinygen.kernels`, they know nothing of Tensors or gradients.

`reference` is each kernel in plain array code, the oracle and the fallback; `cpu` holds the numba versions, `cuda`
the CUDA C++ ones, all with the same signatures. Imports here are relative, so that the folder works wherever it lies.
"""
