/**
 * The GPU, as far as libtorch's presets do not map it or do not get it right: kernels from the
 * {@code .cu} files beside the Java of their topic, with the headers that topics share here,
 * compiled for the GPU at hand at run time ({@link moe4j.kernels.cuda.CudaKernel}); graphs captured
 * of libtorch's work and ours ({@link moe4j.kernels.cuda.CudaGraph}); the stream they need, and a
 * profile of what ran. Where a model is computed on the CPU nothing of CUDA is loaded; {@link
 * moe4j.kernels.cuda.Cuda#isAvailable} may always be asked.
 */
package moe4j.kernels.cuda;
