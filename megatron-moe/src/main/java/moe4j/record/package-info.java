/**
 * What a run tells of itself: records of its iterations and the files that keep them. It knows no
 * model and no loop.
 */
package moe4j.record;
