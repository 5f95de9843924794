/** A program that trains a small GPT through the library. */
package moe4j.examples.gpt;
