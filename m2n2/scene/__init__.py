"""One image made ready for clicks, and what its clicks become, a file an idea."""

from m2n2.scene.scene import Mask, Scene

__all__ = ["Mask", "Scene"]
