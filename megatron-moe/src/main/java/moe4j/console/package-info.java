/** What a person at a terminal sees: one line of progress, and all else above it. */
package moe4j.console;
