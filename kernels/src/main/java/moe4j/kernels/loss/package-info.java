/** Cross-entropy, of a whole vocabulary and of a part: operation, reference, kernel, check. */
package moe4j.kernels.loss;
