/**
 * GPT: flags, model, data, costs, upcycling. Nothing outside this package but commands named after
 * it knows them.
 */
package moe4j.model.gpt;
