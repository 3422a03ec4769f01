"""What trained systems are used for: retrieval, anomaly detection, arithmetic with codes, completion, features of layers.

Each needs a capability.
"""
