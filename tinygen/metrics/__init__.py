"""How good samples are: a judge network and the distances in its features, coverage, memorisation, mode counts.

The judge is trained here and no model may see it: this room lies below `tinygen.train` and imports no model. Import the
submodule that is needed.
"""
