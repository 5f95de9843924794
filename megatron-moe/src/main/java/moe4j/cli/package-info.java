/** The command line: {@code moe4j COMMAND}, and the commands that need no model. */
package moe4j.cli;
