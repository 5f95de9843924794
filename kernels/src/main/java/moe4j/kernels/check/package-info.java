/**
 * How a kernel is held against its reference: fresh random inputs, gradients, tolerances, findings.
 */
package moe4j.kernels.check;
