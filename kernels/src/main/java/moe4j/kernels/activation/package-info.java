/**
 * Activations with the bias before them, and dropout behind: operation, reference, kernel, check.
 */
package moe4j.kernels.activation;
