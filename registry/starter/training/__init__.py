"""Training, evaluation and export of the starter model."""
