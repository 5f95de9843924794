/**
 * What a model costs, on paper: plain records that say of each of its parts which parameters it
 * has, what it computes, keeps and sends, and what has to be a multiple of what. Model FLOPs,
 * parameter counts, {@code plan} and the checks of a layout are sums over them. A layer says its
 * costs beside its code; a family puts its layers' together as {@link moe4j.cost.Costs}.
 */
package moe4j.cost;
