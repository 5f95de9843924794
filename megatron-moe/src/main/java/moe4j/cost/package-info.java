/**
 * What a model costs, on paper: plain records that say of each of its parts which parameters it
 * has, what it computes, keeps and sends, and which sizes have to be multiples of which numbers of
 * ranks. Model FLOPs, parameter counts and {@code plan} are sums over the parts, and the checks of
 * a layout go through them. The costs of a layer stand beside its code, as a {@link
 * moe4j.cost.ModelPart}; a family puts the parts of its model together as {@link moe4j.cost.Costs}.
 *
 * <p>An amount is {@link moe4j.cost.Rows} times {@link moe4j.cost.Width}: rows are counted by
 * samples and by micro-batches, a width is a number for each row, and both know which rank has
 * which part. So {@code Amount.elements(Rows.tokens(s), Width.tensor(f))} is f numbers for each of
 * a sequence's s tokens, divided among the tensor-parallel ranks. Nothing is a number before a
 * {@link moe4j.cost.Placement} says how many samples there are and how many ranks.
 */
package moe4j.cost;
