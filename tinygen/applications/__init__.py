"""What trained systems are used for: retrieval, anomaly detection, arithmetic with codes, features of layers."""
