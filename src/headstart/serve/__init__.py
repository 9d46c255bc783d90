"""A server on one machine: images in over HTTP, answers out, by the same code as `predict`."""
