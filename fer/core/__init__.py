"""What all rooms share: errors, files, parameters, the machine, the face set."""

__version__ = "0.2.0"
