"""Systems that predict an example value by value; their likelihood is exact."""
