package moe4j.cli;

/** The flags of a command that has none. */
record NoFlags() {}
