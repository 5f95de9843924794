/**
 * Which experts a token goes to: a file for each gate, what gates have in common, and their
 * routing.
 */
package moe4j.moe.gate;
