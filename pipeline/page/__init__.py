"""What the page of `m2n2 ui` knows: clicks as they are made, scenes made ready, and what people said of masks."""
