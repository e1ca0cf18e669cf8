"""Spec -> Keras graph: backbones, cuts, codecs, distances, terms, the Distiller and its plan."""
