"""A trained run -> artefacts that serve."""
