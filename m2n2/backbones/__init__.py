"""Where attention comes from: one file a family of models, one protocol."""
