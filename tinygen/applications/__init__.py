"""What trained systems are used for: retrieval, anomaly detection, arithmetic with codes, completion, style transfer.

Each needs a capability.
"""
