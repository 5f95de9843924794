/**
 * The {@code demo}: a dense GPT and its twin with experts, trained on Java sources and compared.
 */
package moe4j.examples.gpt;
