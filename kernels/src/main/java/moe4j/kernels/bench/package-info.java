/** The speed of kernels beside their references: {@code moe4j bench kernels}. */
package moe4j.kernels.bench;
