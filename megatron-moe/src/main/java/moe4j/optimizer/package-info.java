/** AdamW with fp32 masters, gradient accumulation and clipping, learning-rate schedules. */
package moe4j.optimizer;
