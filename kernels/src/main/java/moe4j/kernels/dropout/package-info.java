/** Dropout whose draws are keyed by an element's place: operation, reference, kernel, check. */
package moe4j.kernels.dropout;
