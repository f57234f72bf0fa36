"""The command line: sits above every other room, imports them late so that --help is fast."""
