/**
 * Operations that libtorch lacks or computes slowly, by topic: each topic is a package below.
 * Beside each kernel's launcher stands its reference in libtorch's operations, which is also the
 * CPU's path; {@link moe4j.kernels.cuda.Kernels} chooses between the two.
 *
 * <p>{@code moe4j.kernels.cuda} compiles and launches kernels and captures graphs, {@code
 * moe4j.kernels.selftest} checks kernels and references; {@code docs/kernels.md} says how one is
 * made.
 */
package moe4j.kernels;
