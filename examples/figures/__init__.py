"""The figures of lectures on generative models, each drawn by one command: `python -m examples.figures`."""
