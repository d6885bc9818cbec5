"""The commands of the command line, tested; a package so that its conftest has a name of its own."""
