/**
 * GPT: flags, model, data, costs, upcycling. Outside this package only the demo and the examples
 * know its classes; all else knows a GPT as a {@link moe4j.model.ModelFamily}.
 */
package moe4j.model.gpt;
