/** A run and its directory: what is saved, by whom it is owned, and how it goes on. */
package moe4j.training.run;
