/**
 * What libtorch lacks or what pays to be our own: native-memory scopes, operators reached through
 * the dispatcher, counter-based random numbers, gradients defined in Java, and the kernels'
 * references in plain tensor operations, which are also the CPU's path.
 */
package moe4j.kernels;
