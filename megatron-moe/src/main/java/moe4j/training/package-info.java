/** The training loop, evaluation, checkpoints of a run, and what a run tells of itself. */
package moe4j.training;
