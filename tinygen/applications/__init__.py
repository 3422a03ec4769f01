"""What trained systems are used for: retrieval, anomaly detection, arithmetic with codes. Each needs a capability."""
