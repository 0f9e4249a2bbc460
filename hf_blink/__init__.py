"""Entity linking by descriptions: retrieve with a bi-encoder, rerank with a cross-encoder."""

__version__ = "0.1.0"
