"""headstart: transfer learning for images, fast and honest."""

__version__ = "0.1.0"
