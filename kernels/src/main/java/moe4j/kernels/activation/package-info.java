/**
 * Activations with the bias before them and dropout after them: operation, reference, kernel,
 * check.
 */
package moe4j.kernels.activation;
