"""The command line: parse, call, print. One verb a task; each is imported only when it is used."""
