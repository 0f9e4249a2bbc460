"""Models, knowledge base, index and linker: the code that runs inference and travels to the Hub with the weights."""
