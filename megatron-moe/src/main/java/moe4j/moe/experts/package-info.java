/** What experts compute: MLPs in grouped products, or modules of one's own. */
package moe4j.moe.experts;
