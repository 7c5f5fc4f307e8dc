"""jepalib: self-supervised foundation models of particle jets, notebook first."""

__version__ = "0.1.0"
