/** Attention and the projections around it: operation, reference, kernel, check. */
package moe4j.kernels.attention;
