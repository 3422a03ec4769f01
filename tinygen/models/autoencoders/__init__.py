"""Systems with a code from which the input is rebuilt."""
