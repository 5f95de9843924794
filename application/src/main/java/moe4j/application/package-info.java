/** What only the program needs, and no library: the logging backend and the terminal. */
package moe4j.application;
