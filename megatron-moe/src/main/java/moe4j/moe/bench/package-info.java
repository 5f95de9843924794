/** The speed and the errors of an MoE layer beside other ways to compute it: {@code bench moe}. */
package moe4j.moe.bench;
