"""The text that travels to the Hub with a linker: card templates and requirements."""
