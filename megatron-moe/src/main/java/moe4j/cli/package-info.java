/** The command line: {@code moe4j COMMAND}, and its commands. */
package moe4j.cli;
