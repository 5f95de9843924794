/**
 * Mixture-of-experts layers: a {@link moe4j.moe.gate.Gate} routes, a {@link
 * moe4j.moe.dispatch.TokenDispatcher} moves, {@link moe4j.moe.experts.Experts} compute, and a
 * {@link moe4j.moe.MoeLayer} is these three. A gate and an expert are interfaces with one method
 * that matters.
 */
package moe4j.moe;
