"""TensorFlow: Keras v3 archives and SavedModels."""
