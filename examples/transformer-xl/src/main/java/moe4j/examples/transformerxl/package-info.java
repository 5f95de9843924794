/**
 * The Transformer-XL commands, {@code pretrain-txl}, {@code evaluate-txl} and {@code bench txl},
 * and the model.
 */
package moe4j.examples.transformerxl;
