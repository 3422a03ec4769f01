"""Systems that translate images into another domain."""
