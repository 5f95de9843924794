/** What routing and experts need: the best k, sorted routes, gathered rows, grouped products. */
package moe4j.kernels.experts;
