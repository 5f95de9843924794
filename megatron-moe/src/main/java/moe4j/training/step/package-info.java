/** One step on a device: batches, captured graphs, evaluation, what is measured. */
package moe4j.training.step;
