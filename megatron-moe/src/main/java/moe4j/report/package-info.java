/** Pictures and pages of what runs have recorded. */
package moe4j.report;
