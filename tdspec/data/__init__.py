"""Names -> tf.data splits."""
