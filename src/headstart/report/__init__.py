"""Pictures and text that show how a training went."""
