/**
 * The foundation of every other package: native-memory scopes, small helpers for tensors, operators
 * reached through libtorch's dispatcher, gradients defined in Java, and random numbers keyed by
 * their place.
 */
package moe4j.tensor;
