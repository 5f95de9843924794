/**
 * What libtorch lacks or what pays to be our own: native-memory scopes, operators reached through
 * the dispatcher, counter-based random numbers, gradients defined in Java, and operations that are
 * kernels of ours on a GPU. Beside each kernel's launcher stands its reference in libtorch's
 * operations, which is also the CPU's path; {@link moe4j.kernels.cuda.Kernels} chooses between the
 * two.
 *
 * <p>{@link moe4j.kernels.cuda} compiles and launches kernels and captures graphs, {@link
 * moe4j.kernels.selftest} checks kernels and references; {@code docs/kernels.md} says how one is
 * made.
 */
package moe4j.kernels;
