/**
 * The GPU: kernels of our own, compiled for it at run time, and captured graphs. Nothing here is
 * loaded where a model is computed on the CPU.
 */
package moe4j.kernels.cuda;
