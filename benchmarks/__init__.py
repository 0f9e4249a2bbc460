"""Scripts that print the tables of docs/results.md and write docs/results/*.json; not part of the installed package."""
