"""Images without end: answers as they come, in files that can be gone on with, in class folders."""
