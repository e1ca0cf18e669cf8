"""YAML text -> Spec, with every mistake at its place. Never imports Keras or TensorFlow."""
