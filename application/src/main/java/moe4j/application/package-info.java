/** What only the program needs, and no one who uses moe4j as a library: the logging backend. */
package moe4j.application;
