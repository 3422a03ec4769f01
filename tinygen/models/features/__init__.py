"""Feature networks: classifiers in the shape of VGG, by whose activations other systems compare images."""
