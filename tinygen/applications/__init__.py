"""What trained systems are used for: retrieval, anomaly detection, arithmetic with codes. They ask for capabilities."""
