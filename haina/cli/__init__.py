"""The command line: a verb each, its flags the fields of its options."""
