/** What experts compute: MLPs in grouped products, or a user's own modules. */
package moe4j.moe.experts;
