/** A program that trains Transformer-XL's experiments through the library. */
package moe4j.examples.transformerxl;
