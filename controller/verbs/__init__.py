"""The verbs of `dvfo-controller`, one module each: `add_arguments(parser)` and `run(arguments) -> int`."""
