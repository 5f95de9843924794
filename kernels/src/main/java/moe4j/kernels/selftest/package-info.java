/** Checks of every kernel that run wherever moe4j runs: {@code moe4j selftest}. */
package moe4j.kernels.selftest;
