"""One module per verb: `add_arguments(parser)` declares it, `run(arguments)` does it, returns the status."""
