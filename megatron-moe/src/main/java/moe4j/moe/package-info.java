/**
 * Mixture-of-experts layers: a {@link moe4j.moe.Gate} routes, a {@link moe4j.moe.TokenDispatcher}
 * moves, {@link moe4j.moe.Experts} compute, and a {@link moe4j.moe.MoeLayer} is these three. A gate
 * and an expert are interfaces with one method that matters.
 */
package moe4j.moe;
