/**
 * Transformer-XL on a corpus of bytes: flags, presets, model, data, costs, and the words of its
 * log.
 */
package moe4j.model.txl;
