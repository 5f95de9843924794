/**
 * moe4j as a library: an MoE layer in a model of one's own, a gate, an expert, and several gates
 * over one set of experts. What {@code docs/library.md} explains.
 */
package moe4j.examples.library;
