"""The sum over all values of -log p(value | those before), equations 1 and 2 of van den Oord et al. (2016)."""

from tests.models.equations.pixelcnn import pixelcnn

EQUATIONS = {"row-lstm": pixelcnn, "diagonal-bilstm": pixelcnn}
