"""Numbers about samples and codes that no model has to know; import the submodule that is meant."""
