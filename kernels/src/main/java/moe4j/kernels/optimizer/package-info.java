/** AdamW over all parameters at once: operation, reference, kernel, check. */
package moe4j.kernels.optimizer;
