/**
 * The {@code demo}: the sources of Java libraries, a dense GPT, one with experts, and their report.
 */
package moe4j.application.demo;
