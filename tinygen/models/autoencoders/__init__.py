"""Systems that encode an input, and reconstruct it from its code."""
