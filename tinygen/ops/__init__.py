"""Every operation, defined once: what it computes, and the vector-Jacobian product of each argument."""
