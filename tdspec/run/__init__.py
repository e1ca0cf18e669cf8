"""Graph and data -> a trained run."""
