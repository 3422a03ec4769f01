"""Feature networks: a classifier in the shape of VGG, and its activations for systems that compare images by them."""
