/** Matrix products by the library that is fastest for them, and sums over rows. */
package moe4j.kernels.product;
