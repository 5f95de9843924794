/**
 * Memory and time of training layouts on paper: which sizes of tensor, data and expert parallelism
 * fit a cluster, and which of them is the fastest. Nothing here allocates a tensor or asks a
 * device; {@code docs/plan.md} derives the formulas and holds them against measurements.
 */
package moe4j.plan;
