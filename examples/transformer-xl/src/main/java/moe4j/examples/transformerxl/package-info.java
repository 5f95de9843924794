/**
 * The Transformer-XL experiment. Its model, presets and commands are in {@code moe4j.model.txl} and
 * {@code moe4j.cli}.
 */
package moe4j.examples.transformerxl;
