// Twins of the few-line wrappers of inline PTX in kernels/cuda/ptx.cuh.
#pragma once
