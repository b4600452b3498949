"""How good a mask is likely to be: what the head knows of it, and the small model that turns that into an IoU."""
