/**
 * The GPT commands: {@code pretrain-gpt}, {@code generate}, {@code evaluate}, {@code bench gpt} and
 * the {@code demo}.
 */
package moe4j.examples.gpt;
