/** Norms with the addition before them: operation, reference, kernel, check. */
package moe4j.kernels.norm;
