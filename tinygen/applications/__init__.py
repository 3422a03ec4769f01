"""What trained systems are used for: retrieval, anomaly detection, arithmetic with codes, completion.

Each needs a capability.
"""
